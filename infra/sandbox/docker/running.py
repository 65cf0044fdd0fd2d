"""One container from "ready" to gone."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from infra.sandbox.cgroups import ControlGroup, Usage
from infra.sandbox.docker.channel import Channel, Report
from infra.sandbox.docker.departures import Departures
from infra.sandbox.docker.profile import with_gpu
from infra.sandbox.guard_client import Guard
from infra.sandbox.lifetime import Lifetime
from infra.sandbox.pipes import OutputPipes
from infra.sandbox.port import LATER, KillReason, SandboxError, SandboxExit, SandboxSpec

_PROCESS_ONE_SLACK = 0.5  # seconds past the limit, after which process 1 acts by itself
_LITTLE = 8 << 20  # bytes of a container that may stay for a while when its program has ended
_PROCESS_ONE_PATIENCE = 2.0  # seconds until what process 1 was told is done without it


class DockerRun(Lifetime):
    """Implements `Prepared`. Made by `DockerSandbox.prepare` only.

    The engine has no part in it: process 1 reports the end over its channel and is killed by us, so
    a run goes on and ends as it should while the engine is stopped. The guard beside the agent
    holds `held_fds` until nothing of the container lives, as with bubblewrap.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        *,
        pid: int,
        channel: Channel,
        outputs: OutputPipes,
        group: ControlGroup,
        guard: Guard,
        departures: Departures,
        rules: int,
        work: Path | None,
        release: Callable[[], None],
    ) -> None:
        """`rules` is a file with the filter of system calls, and stays the caller's.

        Raises OSError if process 1 is dead already, or there are no descriptors left.
        """
        self._channel = channel
        self._departures = departures
        self._rules = rules
        self._counters = group
        self._report: Report | None = None
        self._usage: Usage | None = None
        # runc has worked inside the group before us.
        self._cpu_before = group.usage().cpu_time
        self._stdin = -1
        self._take_input(spec.stdin)
        try:
            super().__init__(
                spec, pid=pid, pipes=outputs, group=group, guard=guard, work=work, release=release
            )
        except OSError:
            self._close_input()
            raise
        self._loop.add_reader(channel.fileno(), self._reported)

    def _take_over(self, spec: SandboxSpec) -> None:
        super()._take_over(spec)
        self._take_input(spec.stdin)

    def _take_input(self, stdin: int) -> None:
        """Have the program's stdin ready for `go`, whatever becomes of the caller's descriptor."""
        if stdin != LATER:
            self._stdin = fcntl.fcntl(stdin, fcntl.F_DUPFD_CLOEXEC, 0)

    def _let_go(self) -> None:
        if self._stdin < 0:
            self._stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        outputs = self._outputs
        self._channel.go(
            self._stdin,
            outputs.childs_stdout,
            outputs.childs_stderr,
            self._rules,
            self._spec.limits.time + _PROCESS_ONE_SLACK,
        )
        outputs.close_childs_ends()
        self._close_input()
        self._departures.starts.note()

    def _stop_program(self) -> None:
        # Process 1 ends all others in one sweep and stays, so that the counters stay too.
        self._channel.kill()
        self._loop.call_later(_PROCESS_ONE_PATIENCE, self._stop_without_process_one)

    def _stop_without_process_one(self) -> None:
        if not self._ended.done():
            self._signal_outer()

    def _reported(self) -> None:
        self._loop.remove_reader(self._channel.fileno())
        self._report = self._channel.report()
        if self._report is not None:  # else process 1 is dead, which its pidfd tells
            self._count()
            self._program_ended()

    def _collect(self) -> None:
        self._outputs.close_childs_ends()  # where it was never let go, readers see the end now
        if self._report is None:
            self._loop.remove_reader(self._channel.fileno())
            self._report = self._channel.report()
            self._count()

    def _count(self) -> None:
        # Without process 1 the engine removes the group, maybe at once.
        try:
            self._usage = self._counters.usage()
        except OSError:
            self._usage = None

    def _was_cut_off(self) -> bool:
        return self._report is None or self._report.timed_out

    def _conclude(self, wall_time: float, killed: KillReason | None) -> SandboxExit:
        usage = self._usage
        oom = usage is not None and usage.oom_kills > 0
        if self._report is None and self._started is not None and not (killed or oom):
            raise SandboxError("the container was ended from outside")
        status = 9 if self._report is None else self._report.status
        return SandboxExit(
            exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            oom=oom,
            processes_limited=usage is not None and usage.refused_forks > 0,
            killed=killed,
            wall_time=wall_time,
            cpu_time=max(0.0, usage.cpu_time - self._cpu_before) if usage else 0.0,
            peak_memory=usage.peak_memory if usage else None,
        )

    def _close_input(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def _may_stay(self) -> bool:
        # Process 1 reports when nothing but itself lives. With it stay its files in memory.
        spec, usage = self._spec, self._usage
        return (
            self._report is not None
            and usage is not None
            and usage.memory <= _LITTLE
            and spec.kind == "run"
            and not (spec.held_fds or spec.keep_work or with_gpu(spec))
        )

    def _depart(self) -> None:
        if self._may_stay() and not self._gone.done():
            self._departures.add(self._end_outer, self._give_back)
        else:
            self._give_back()

    async def _close(self) -> None:
        await super()._close()
        self._close_input()
