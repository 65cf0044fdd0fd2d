"""One bubblewrap sandbox from "ready" to gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import Callable
from pathlib import Path

from infra.sandbox import ending
from infra.sandbox.cgroups import ControlGroup
from infra.sandbox.guard_client import Guard
from infra.sandbox.lifetime import Lifetime
from infra.sandbox.pipes import Pipes
from infra.sandbox.port import KillReason, SandboxError, SandboxExit, SandboxSpec

_START_PATIENCE = 20.0  # seconds until "ready"; it takes milliseconds unless the host is drowning


class BubblewrapRun(Lifetime):
    """Implements `Prepared`. Made by `BubblewrapSandbox.prepare` only. Its outermost process is
    bwrap, our child; process 1 dies with that (--die-with-parent)."""

    def __init__(
        self,
        spec: SandboxSpec,
        *,
        pid: int,
        pipes: Pipes,
        group: ControlGroup | None,
        guard: Guard,
        work: Path | None,
        release: Callable[[], None],
    ) -> None:
        super().__init__(
            spec, pid=pid, pipes=pipes, group=group, guard=guard, work=work, release=release
        )
        self._pipes = pipes
        self._status = 0
        self._usage: resource.struct_rusage | None = None

    async def enclose(self, arguments: bytes) -> None:
        """Limit bwrap, let it go on, wait until the program stands before its start.

        Raises SandboxError, in bwrap's words.
        """
        try:
            if self._group:
                self._group.admit(self._pid)
            self._pipes.give_arguments(arguments)
            async with asyncio.timeout(_START_PATIENCE):
                ready = await self._pipes.status_line()
        except OSError as error:
            raise SandboxError(self._pipes.diagnostics() or str(error)) from error
        except TimeoutError:
            raise SandboxError(f"not ready after {_START_PATIENCE:.0f} s") from None
        if ready != b"ready":
            await asyncio.wait({self._gone}, timeout=1.0)
            raise SandboxError(self._pipes.diagnostics() or "bubblewrap ended without a word")

    def _let_go(self) -> None:
        self._pipes.give_input(self._spec.stdin)
        with contextlib.suppress(BrokenPipeError):  # it is dead already; wait() tells
            os.write(self._pipes.go, b"\n")

    def _collect(self) -> None:
        _, self._status, self._usage = os.wait4(self._pid, 0)

    def _was_cut_off(self) -> bool:
        return os.WIFSIGNALED(self._status)

    def _conclude(self, wall_time: float, killed: KillReason | None) -> SandboxExit:
        report = ending.Report(
            status=self._pipes.status(),
            diagnostics=self._pipes.diagnostics(),
            outer=self._status,
            killed=killed,
            wall_time=wall_time,
        )
        usage = self._group.usage() if self._group else None
        return ending.conclude(report, usage, self._usage)
