"""From what is left of a sandbox to how its program ended, as pure functions."""

from __future__ import annotations

import os
import re
import resource
import signal

import msgspec

from infra.sandbox.cgroups import Usage
from infra.sandbox.port import KillReason, SandboxExit

# The shell tells of a program's death by signal with 128 + signal, as a program may by itself. It
# also says it in words, except for these two, which end a pipeline quietly.
_SAID_QUIETLY = (signal.SIGINT, signal.SIGPIPE)


class Report(msgspec.Struct, frozen=True):
    """What process 1 said in status and on its stderr, and the outer process's wait status."""

    status: bytes
    diagnostics: str
    outer: int
    killed: KillReason | None
    wall_time: float


def conclude(
    report: Report, usage: Usage | None, outer_usage: resource.struct_rusage | None
) -> SandboxExit:
    """How it ended. Without a control group, CPU time is what the outer process has waited for."""
    exit_code, by_signal = _how(report)
    cpu = outer_usage.ru_utime + outer_usage.ru_stime if outer_usage else 0.0
    return SandboxExit(
        exit_code=exit_code,
        signal=by_signal,
        oom=bool(usage and usage.oom_kills),
        processes_limited=bool(usage and usage.refused_forks),
        killed=report.killed,
        wall_time=report.wall_time,
        cpu_time=usage.cpu_time if usage else cpu,
        peak_memory=usage.peak_memory if usage else None,
    )


def _how(report: Report) -> tuple[int | None, int | None]:
    said = re.fullmatch(rb"exit (\d{1,3})\n", report.status)
    if said is None:
        if os.WIFSIGNALED(report.outer):
            return None, os.WTERMSIG(report.outer)
        return None, signal.SIGKILL  # process 1 was killed, by the kernel for memory most likely
    code = int(said[1])
    number = code - 128
    if 0 < number < signal.NSIG and (report.diagnostics or number in _SAID_QUIETLY):
        return None, number
    return code, None
