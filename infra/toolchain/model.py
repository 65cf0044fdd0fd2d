"""What a toolchain is, and the two ways in which there is none."""

from __future__ import annotations

from typing import Protocol

import msgspec

from hermes.errors import ServerFault, Unavailable


class Toolchain(msgspec.Struct, frozen=True, kw_only=True):
    """A compiler for one language, and what a sandbox must show so that a Makefile finds it."""

    #: The language it compiles: "cpp" or "cuda".
    name: str
    #: The compiler's own version, as in "12.2.0".
    version: str
    #: SHA-256, in hex, over the programs and libraries that decide what it produces.
    digest: str
    #: Where it lies on the host.
    root: str
    #: Variables of a build, PATH among them, with paths as they are inside the sandbox.
    env: dict[str, str]
    #: Variables that a run of the built program needs if it links the toolchain's libraries.
    run_env: dict[str, str] = {}
    #: What a sandbox shows read-only beyond the host's /usr, in builds and in such runs: pairs of a
    #: path on the host and the path inside.
    ro_binds: tuple[tuple[str, str], ...] = ()
    #: Of a toolchain that is an image: the ids of the images to build in and to run in.
    build_image: str | None = None
    run_image: str | None = None

    @property
    def identity(self) -> str:
        """What an event says of it, as in "cpp-12.2.0@sha256:…"."""
        return f"{self.name}-{self.version}@sha256:{self.digest}"


class Toolchains(Protocol):
    """Where an agent's toolchains are: on its host, or in images."""

    @property
    def in_images(self) -> bool:
        """Whether programs need an image of theirs to run in."""

    async def require(self, language: str) -> Toolchain:
        """The toolchain for "cpp" or "cuda". Raises ToolchainMissing with the reason."""

    async def available(self) -> list[Toolchain]:
        """All that are there, in a fixed order."""


class ToolchainMissing(Unavailable):
    """This machine has no toolchain for the language"""

    def __init__(self, language: str, reason: str, advice: str) -> None:
        super().__init__(f"{reason}. {advice}.")
        self.language = language
        self.reason = reason
        self.advice = advice


class InstallFailed(ServerFault):
    """The toolchain could not be installed"""
