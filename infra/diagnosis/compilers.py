"""The compilers that builds use."""

from __future__ import annotations

from pathlib import Path

from infra.diagnosis.check import Check
from infra.toolchain import ToolchainMissing, require_toolchain


def cpp(home: Path) -> Check:
    """g++ and make; CUDA's compiler needs them too."""
    return _compiler("compiler", "cpp", home, required=True)


def cuda(home: Path) -> Check:
    """nvcc, the system's or the one that Hermes installed."""
    return _compiler("nvcc", "cuda", home, required=False)


def _compiler(name: str, language: str, home: Path, *, required: bool) -> Check:
    try:
        found = require_toolchain(language, home)
    except ToolchainMissing as error:
        return Check(name, False, required, error.reason, f"{error.advice}.")
    return Check(name, True, required, f"{found.version} in {found.root}")
