"""Compilers for functions: finds them, installs CUDA's, and says what a build sandbox needs."""

from infra.toolchain.cuda_install import install_cuda
from infra.toolchain.find import require_toolchain, toolchain_for
from infra.toolchain.model import InstallFailed, Toolchain, ToolchainMissing

__all__ = [
    "InstallFailed",
    "Toolchain",
    "ToolchainMissing",
    "install_cuda",
    "require_toolchain",
    "toolchain_for",
]
