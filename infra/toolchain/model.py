"""What a toolchain is, and the two ways in which there is none."""

from __future__ import annotations

import msgspec

from hermes.errors import ServerFault, Unavailable


class Bind(msgspec.Struct, frozen=True):
    """A folder of the host, shown read-only inside the sandbox at another path."""

    source: str
    target: str


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
    #: Folders to put in front of PATH in a build, as paths inside the sandbox.
    path: tuple[str, ...] = ()
    #: Further variables of a build.
    env: dict[str, str] = {}
    #: Variables that a run of the built program needs if it links the toolchain's libraries.
    run_env: dict[str, str] = {}
    #: What a sandbox shows beyond the host's /usr, in builds and in runs.
    ro_binds: tuple[Bind, ...] = ()


class ToolchainMissing(Unavailable):
    """This machine has no toolchain for the language"""

    def __init__(self, language: str, reason: str, advice: str) -> None:
        super().__init__(f"{reason}. {advice}.")
        self.language = language
        self.reason = reason
        self.advice = advice


class InstallFailed(ServerFault):
    """The toolchain could not be installed"""
