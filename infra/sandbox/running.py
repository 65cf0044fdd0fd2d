"""One bubblewrap sandbox from "ready" to gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from infra.sandbox import ending
from infra.sandbox.cgroups import KILL_PATIENCE, ControlGroup
from infra.sandbox.guard_client import Guard
from infra.sandbox.pipes import Pipes
from infra.sandbox.port import LATER, KillReason, SandboxError, SandboxExit, SandboxSpec

_START_PATIENCE = 20.0  # seconds until "ready"; it takes milliseconds unless the host is drowning
_GUARD_SLACK = 1.0  # seconds past the limit: the guard acts only when this process has not


class BubblewrapRun:
    """Implements `Prepared`. Made by `BubblewrapSandbox.prepare` only."""

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
        self._spec = spec
        self._name = spec.name  # stays when it is assigned
        self._pid = pid
        self._pipes = pipes
        self._group = group
        self._guard = guard
        self._work = work
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(pid)
        self._watch(spec.held_fds)
        self._killed: KillReason | None = None
        self._empty = False
        self._started: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._usage: resource.struct_rusage | None = None
        self._gone: asyncio.Future[int] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._outer_ended)
        self._exit: asyncio.Task[SandboxExit] | None = None
        self._closed: asyncio.Task[None] | None = None

    @property
    def stdout(self) -> int:
        """See `Prepared`."""
        return self._pipes.stdout

    @property
    def stderr(self) -> int:
        """See `Prepared`."""
        return self._pipes.stderr

    @property
    def work(self) -> Path | None:
        """See `Prepared`."""
        return self._work

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

    @property
    def waits(self) -> bool:
        """See `Prepared`."""
        return (
            self._started is None
            and self._killed is None
            and self._closed is None
            and not self._gone.done()
            # The loop hears of an end a little later than it happens.
            and os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        )

    def assign(self, spec: SandboxSpec) -> None:
        """See `Prepared`."""
        if self._spec.stdin != LATER:
            raise SandboxError(f"sandbox {self._name} has its input already")
        if not self.waits:
            raise SandboxError(f"sandbox {self._name} waits no more")
        self._spec = spec
        if spec.held_fds:
            self._watch(spec.held_fds)

    def _watch(self, held: tuple[int, ...]) -> None:
        folders = self._group.folders if self._group else ()
        self._guard.watch(self._name, folders, self._pidfd, held)

    def go(self) -> None:
        """See `Prepared`."""
        if self._started is not None or self._killed or self._closed:
            return
        limit = self._spec.limits.time
        self._guard.deadline(self._name, limit + _GUARD_SLACK)
        self._started = self._loop.time()
        self._timer = self._loop.call_later(limit, self._time_is_over)
        self._pipes.give_input(self._spec.stdin)
        with contextlib.suppress(BrokenPipeError):  # it is dead already; wait() tells
            os.write(self._pipes.go, b"\n")

    async def wait(self) -> SandboxExit:
        """See `Prepared`."""
        if self._exit is None:
            self._exit = self._loop.create_task(self._await_end())
        return await asyncio.shield(self._exit)

    async def kill(self, reason: KillReason, grace: float = 0.0) -> None:
        """See `Prepared`."""
        if self._gone.done():
            return
        self._killed = self._killed or reason
        if grace > 0 and self._started is not None:
            for pid in self._members():
                if pid != self._pid:  # bwrap itself would take everything with it at once
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
            await asyncio.wait({self._gone}, timeout=grace)
        await self._kill_all()

    async def close(self) -> None:
        """See `Prepared`."""
        if self._closed is None or (self._closed.done() and self._closed.exception()):
            self._closed = self._loop.create_task(self._close())
        await asyncio.shield(self._closed)

    async def _close(self) -> None:
        if self._timer:
            self._timer.cancel()
        # If it does not die, all it holds stays taken, and the guard keeps its locks.
        await self._kill_all()
        if self._exit:
            await asyncio.wait({self._exit})
        self._guard.done(self._name)
        os.close(self._pidfd)
        self._pipes.close()
        self._release()

    async def _await_end(self) -> SandboxExit:
        status = await asyncio.shield(self._gone)
        ended = self._loop.time()
        if self._timer:
            self._timer.cancel()
        await self._kill_all()
        wall = ended - self._started if self._started is not None else 0.0
        if self._killed is None and self._started is not None and os.WIFSIGNALED(status):
            # Frozen ourselves, and the guard kept the limit.
            if wall >= self._spec.limits.time:
                self._killed = "timed_out"
        report = ending.Report(
            status=self._pipes.status(),
            diagnostics=self._pipes.diagnostics(),
            outer=status,
            killed=self._killed,
            wall_time=wall,
        )
        usage = self._group.usage() if self._group else None
        return ending.conclude(report, usage, self._usage)

    def _time_is_over(self) -> None:
        if not self._gone.done():
            self._killed = self._killed or "timed_out"
            self._signal_outer()

    def _outer_ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        _, status, self._usage = os.wait4(self._pid, 0)
        if not self._gone.done():
            self._gone.set_result(status)

    def _signal_outer(self) -> None:
        # With bwrap dies process 1 (--die-with-parent), and with that its process namespace.
        if not self._gone.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def _kill_all(self) -> None:
        descendants = [] if self._group else self._members()
        self._signal_outer()
        for pid in descendants:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.wait({self._gone}, timeout=KILL_PATIENCE)
        if not self._gone.done():
            raise SandboxError(f"sandbox {self._name} does not die")
        if self._group and not self._empty:
            await self._group.kill()
            self._empty = True

    def _members(self) -> list[int]:
        if self._gone.done():
            return []
        return self._group.processes() if self._group else _descendants(self._pid)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    todo = [pid]
    while todo:
        for children in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                todo += (pids := [int(word) for word in children.read_text().split()])
                found += pids
    return found
