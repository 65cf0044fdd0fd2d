"""The toolchains of this host, one per language."""

from __future__ import annotations

import asyncio
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


class HostToolchains:
    """Implements `Toolchains`; `home` has those that Hermes installed."""

    in_images = False

    def __init__(self, home: Path) -> None:
        self._home = home

    async def require(self, language: str) -> Toolchain:
        """See `Toolchains`."""
        return await asyncio.to_thread(require_toolchain, language, self._home)

    async def available(self) -> list[Toolchain]:
        """See `Toolchains`."""
        found = [
            await asyncio.to_thread(toolchain_for, language, self._home)
            for language in ("cpp", "cuda")
        ]
        return [toolchain for toolchain in found if toolchain is not None]
