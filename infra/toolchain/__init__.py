"""Compilers for functions: finds them, installs CUDA's, and says what a build sandbox needs."""

from infra.toolchain.cuda_install import install_cuda
from infra.toolchain.find import HostToolchains, require_toolchain, toolchain_for
from infra.toolchain.model import InstallFailed, Toolchain, ToolchainMissing, Toolchains

__all__ = [
    "HostToolchains",
    "InstallFailed",
    "Toolchain",
    "ToolchainMissing",
    "Toolchains",
    "install_cuda",
    "require_toolchain",
    "toolchain_for",
]
