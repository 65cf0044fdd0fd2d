"""One toolchain per language."""

from __future__ import annotations

from pathlib import Path

from hermes.errors import InvalidConfig
from infra.toolchain.cpp import find_cpp
from infra.toolchain.cuda import find_cuda
from infra.toolchain.model import Toolchain, ToolchainMissing


def require_toolchain(language: str, home: Path) -> Toolchain:
    """The toolchain of this machine for "cpp" or "cuda"; raises `ToolchainMissing` with the reason.

    The first call reads the compiler's files, which can take a second; later ones notice when
    those have changed.
    """
    match language:
        case "cpp":
            return find_cpp()
        case "cuda":
            return find_cuda(home)
    raise InvalidConfig(f"there is no language {language!r}; it must be cpp or cuda")


def toolchain_for(language: str, home: Path) -> Toolchain | None:
    """As `require_toolchain`, for callers to whom a machine without one is no error."""
    try:
        return require_toolchain(language, home)
    except ToolchainMissing:
        return None
