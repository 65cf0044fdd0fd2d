"""From "ready" to gone, whatever the sandbox is made of: its end and its closing stand here, once.

A sandbox has an outermost process, with which everything inside dies, and a main program. The ends
of both may be one event (bubblewrap) or two (process 1 of a container reports, then is ended).
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

from infra.sandbox.cgroups import KILL_PATIENCE, ControlGroup
from infra.sandbox.guard_client import Guard
from infra.sandbox.pipes import OutputPipes
from infra.sandbox.port import LATER, KillReason, SandboxError, SandboxExit, SandboxSpec, Undying

_GUARD_SLACK = 1.0  # seconds past the limit: the guard acts only when this process has not


class Lifetime(abc.ABC):
    """Implements `Prepared` but for how the program is let go and how it ended."""

    def __init__(
        self,
        spec: SandboxSpec,
        *,
        pid: int,
        pipes: OutputPipes,
        group: ControlGroup | None,
        guard: Guard,
        work: Path | None,
        release: Callable[[], None],
    ) -> None:
        """`pid` is the outermost process, `release` gives back what the sandbox took.

        Raises OSError, and keeps nothing then.
        """
        self._spec = spec
        self._name = spec.name  # stays when it is assigned
        self._pid = pid
        self._outputs = pipes
        self._group = group
        self._guard = guard
        self._work = work
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(pid)
        try:
            self._watch(spec.held_fds)
        except OSError:
            os.close(self._pidfd)
            guard.done(spec.name)
            raise
        self._killed: KillReason | None = None
        self._empty = False
        self._started: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[float] = self._loop.create_future()  # the loop's time then
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._outer_ended)
        self._exit: asyncio.Task[SandboxExit] | None = None
        self._closed: asyncio.Task[None] | None = None

    @abc.abstractmethod
    def _let_go(self) -> None:
        """Start the program."""

    @abc.abstractmethod
    def _collect(self) -> None:
        """The outermost process is dead: take in what it left."""

    @abc.abstractmethod
    def _was_cut_off(self) -> bool:
        """Whether the program was ended from outside, as far as its end tells."""

    @abc.abstractmethod
    def _conclude(self, wall_time: float, killed: KillReason | None) -> SandboxExit:
        """How it ended. Raises SandboxError if that was no doing of the program's."""

    def _stop_program(self) -> None:
        """Have the program and all it started die. Does not block."""
        self._signal_outer()

    def _may_stay(self) -> bool:
        """Whether the outermost process may outlive a program of which nothing lives."""
        return False

    @property
    def stdout(self) -> int:
        """See `Prepared`."""
        return self._outputs.stdout

    @property
    def stderr(self) -> int:
        """See `Prepared`."""
        return self._outputs.stderr

    @property
    def work(self) -> Path | None:
        """See `Prepared`."""
        return self._work

    @property
    def waits(self) -> bool:
        """See `Prepared`."""
        return (
            self._started is None
            and self._killed is None
            and self._closed is None
            and not self._gone.done()
            # The loop hears of an end a little later than it happens.
            and not _readable(self._pidfd)
        )

    def assign(self, spec: SandboxSpec) -> None:
        """See `Prepared`."""
        if self._spec.stdin != LATER:
            raise SandboxError(f"sandbox {self._name} has its input already")
        if not self.waits:
            raise SandboxError(f"sandbox {self._name} waits no more")
        try:
            self._take_over(spec)
        except OSError as error:
            raise SandboxError(f"sandbox {self._name} cannot be assigned: {error}") from error

    def _take_over(self, spec: SandboxSpec) -> None:
        """Serve `spec`. Raises OSError: it can only be closed then."""
        self._spec = spec
        if spec.held_fds:
            self._watch(spec.held_fds)

    def go(self) -> None:
        """See `Prepared`."""
        if self._started is not None or self._killed or self._closed:
            return
        limit = self._spec.limits.time
        self._guard.deadline(self._name, limit + _GUARD_SLACK)
        self._started = self._loop.time()
        self._timer = self._loop.call_later(limit, self._time_is_over)
        self._let_go()

    async def wait(self) -> SandboxExit:
        """See `Prepared`."""
        if self._exit is None:
            self._exit = self._loop.create_task(self._await_end())
        return await asyncio.shield(self._exit)

    async def kill(self, reason: KillReason, grace: float = 0.0) -> None:
        """See `Prepared`."""
        if self._ended.done():
            return
        self._killed = self._killed or reason
        if grace > 0 and self._started is not None:
            for pid in self._members():
                if pid != self._pid:  # it would take everything with it at once
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
            await asyncio.wait({self._ended}, timeout=grace)
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
        self._outputs.close()
        self._depart()

    def _depart(self) -> None:
        """Closed: give back what it held, now or later."""
        self._give_back()

    def _give_back(self) -> None:
        self._guard.done(self._name)
        os.close(self._pidfd)
        self._release()

    async def _await_end(self) -> SandboxExit:
        ended = await asyncio.shield(self._ended)
        if self._timer:
            self._timer.cancel()
        await self._kill_all()
        wall = ended - self._started if self._started is not None else 0.0
        if self._killed is None and self._started is not None and self._was_cut_off():
            # Frozen ourselves, and a guard kept the limit.
            if wall >= self._spec.limits.time:
                self._killed = "timed_out"
        return self._conclude(wall, self._killed)

    def _time_is_over(self) -> None:
        if not self._ended.done():
            self._killed = self._killed or "timed_out"
            self._stop_program()

    def _outer_ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._collect()
        self._program_ended()
        if not self._gone.done():
            self._gone.set_result(None)

    def _program_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(self._loop.time())

    def _signal_outer(self) -> None:
        # With it dies process 1, and with that its process namespace.
        if not self._gone.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def _kill_all(self) -> None:
        loose = [] if self._group else self._members()
        if not self._ended.done():
            self._stop_program()
        for pid in loose:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._die(self._ended)
        if not self._may_stay():
            await self._end_outer()

    async def _end_outer(self) -> None:
        self._signal_outer()
        await self._die(self._gone)
        if self._group and not self._empty:
            await self._group.kill()
            self._empty = True

    async def _die(self, end: asyncio.Future[float] | asyncio.Future[None]) -> None:
        await asyncio.wait({end}, timeout=KILL_PATIENCE)
        if not end.done():
            raise Undying(f"sandbox {self._name} does not die")

    def _members(self) -> list[int]:
        if self._gone.done():
            return []
        return self._group.processes() if self._group else _descendants(self._pid)

    def _watch(self, held: tuple[int, ...]) -> None:
        folders = self._group.folders if self._group else ()
        self._guard.watch(self._name, folders, self._pidfd, held)


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    todo = [pid]
    while todo:
        for children in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                todo += (pids := [int(word) for word in children.read_text().split()])
                found += pids
    return found
