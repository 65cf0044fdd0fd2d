"""The sandbox port: what the agent asks of whatever encloses a stranger's program.

Adapters (bubblewrap; containers) implement `Sandbox` and `Prepared`. A sandbox serves one attempt
of one execution and nothing of it outlives `close()`. Times in seconds, sizes in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from hermes.errors import ServerFault

Kind = Literal["run", "build"]
KillReason = Literal["timed_out", "cancelled", "output_limit", "shutdown"]

MIB = 1 << 20
FILE_BYTES = 256 * MIB  # the most that one file may have, unless limits say otherwise
LATER = -1  # in the place of a descriptor that is not known yet
WARM_INPUT = MIB
# Names become folders. Variables are those a shell takes, as one passes them on.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SandboxError(ServerFault):
    """The sandbox could not be set up"""


class GpuUnavailable(SandboxError):
    """This host cannot give a program its GPU"""


class Undying(SandboxError):
    """A process of a sandbox does not die"""


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one program may use. `output` is per stream and enforced by who reads the pipes."""

    time: float
    memory: int
    cpus: float
    output: int
    processes: int
    work_bytes: int = 256 * MIB
    work_files: int = 16_384
    file_bytes: int = FILE_BYTES


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One program to enclose.

    `name` is "<execution id>-<attempt>" and unique among the living. `function_dir` is seen
    read-only at /fn by a run; for a build its content is copied into the writable /work, which is
    the working directory of both. The folder must be readable for everybody (0755/0644), as the
    program has a user of its own. `stdin` is an open descriptor that stays the caller's, or LATER:
    `assign` brings it. `held_fds` (the locks of GPUs) stay open outside the sandbox until nothing
    of it lives, even if the agent has died.

    For adapters that run containers: `image` is the toolchain's (None: the adapter's own for this
    kind), `artifact` the SHA-256 of the built function in `function_dir`, by which it is packaged.
    `gpus` are the UUIDs of the leased GPUs, `gpu_devices` their device nodes; an adapter uses
    whichever it hands out. `function` ("owner/name:version") is for labels, and what warm sandboxes
    are kept by. `may_be_warm` says that a sandbox which has waited may serve it: its input is a
    file of at most WARM_INPUT bytes.
    """

    name: str
    argv: tuple[str, ...]
    kind: Kind
    function_dir: Path
    stdin: int
    limits: SandboxLimits
    env: Mapping[str, str] = {}
    gpu_devices: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    image: str | None = None
    artifact: str | None = None
    function: str = ""
    extra_ro_binds: tuple[tuple[str, str], ...] = ()
    held_fds: tuple[int, ...] = ()
    keep_work: bool = False
    may_be_warm: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SandboxError(f"{self.name!r} is no name for a sandbox")
        for variable, value in self.env.items():
            if not _VARIABLE.fullmatch(variable) or "\0" in value:
                raise SandboxError(f"{variable!r} cannot stand in an environment")
        if not self.argv or any("\0" in word for word in self.argv):
            raise SandboxError("the command is empty or holds a NUL")


class SandboxExit(msgspec.Struct, frozen=True, kw_only=True):
    """How the main program ended. By a signal: `exit_code` is None.

    `killed` is the reason given to `kill`, or "timed_out" from the limit. A program that cannot be
    started ends with 126 or 127, as in a shell. `peak_memory` is None where nothing counts it.
    """

    exit_code: int | None
    signal: int | None
    oom: bool
    processes_limited: bool
    killed: KillReason | None
    wall_time: float
    cpu_time: float
    peak_memory: int | None

    @property
    def timed_out(self) -> bool:
        """Whether the wall-clock limit ended it."""
        return self.killed == "timed_out"


class Guarantee(msgspec.Struct, frozen=True):
    """One promise of a sandbox, and whether this host lets it be kept."""

    name: str
    holds: bool
    detail: str


class Prepared(Protocol):
    """A sandbox that stands ready, blocked just before its program."""

    @property
    def stdout(self) -> int:
        """Non-blocking pipe; its end of file is not the end of the run. Closed by `close()`."""

    @property
    def stderr(self) -> int:
        """As `stdout`."""

    @property
    def work(self) -> Path | None:
        """With `keep_work`: what a dead sandbox left in /work, readable until `close()`."""

    @property
    def waits(self) -> bool:
        """Whether it lives and was not let go yet."""

    def assign(self, spec: SandboxSpec) -> None:
        """Have a sandbox that waits, prepared under a name of its own, serve `spec`.

        `spec` may differ from the one it was prepared for in `name`, `stdin`, `held_fds` and in the
        limits on time and output only. The content of `stdin`, a file of at most WARM_INPUT bytes,
        is needed at `go` only. Raises SandboxError if it waits no more.
        """

    def go(self) -> None:
        """Release the program and start its clock. Does not block."""

    async def wait(self) -> SandboxExit:
        """Wait for the main program's end; afterwards nothing of it lives.

        Raises Undying if one does not die within 30 s, SandboxError if the sandbox was ended from
        outside.
        """

    async def kill(self, reason: KillReason, grace: float = 0.0) -> None:
        """SIGTERM, and SIGKILL to everything after `grace` seconds. The first reason counts."""

    async def close(self) -> None:
        """Kill what lives and have every trace removed. Idempotent.

        What is left of a container, process 1 and nothing that ran in it, may go seconds later.
        Raises Undying if something does not die within 30 s (a driver's call that hangs); what it
        holds stays taken then, `held_fds` too.
        """


class Sandbox(Protocol):
    """A way to enclose programs on this host."""

    async def open(self) -> None:
        """Set up what all sandboxes share. Call once, on the main thread. Raises SandboxError."""

    async def prepare(self, spec: SandboxSpec) -> Prepared:
        """Start a sandbox up to just before its program. Leaves nothing when it fails.

        Raises SandboxError, GpuUnavailable.
        """

    async def probe(self) -> str | None:
        """None if a sandbox works here, else why it does not."""

    def guarantees(self) -> list[Guarantee]:
        """What is promised on this host, and what is not."""

    async def forget(self, function: str) -> None:
        """A function ("owner/name:version") is deleted: keep nothing of it that no program needs.

        Who prepares it all the same, for a run accepted earlier, gets a sandbox.
        """

    async def reap(self, known_names: Iterable[str]) -> list[str]:
        """Remove what this owner's earlier incarnations left, but for `known_names`: the names."""

    async def close(self) -> None:
        """Release what `open` set up; every `Prepared` must be closed before."""
