"""CPU time by role, so that a busy machine does not blur what an execution costs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import psutil


class CpuClock:
    """`read` gives CPU seconds so far by role, with `children` for what the agent's own have used:
    sandboxes, programs, tools. `client` is this process."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._roles = {name: psutil.Process(pid) for name, pid in pids.items()}

    def read(self) -> dict[str, float]:
        """Seconds of user and system time."""
        used = {"client": _own(psutil.Process(os.getpid()))}
        for name, process in self._roles.items():
            used[name] = _own(process)
            if name == "agent":
                # The guard lives as long as the agent; sandboxes are reaped soon after their end.
                used["children"] = _reaped(process) + _living(process)
            elif name == "postgres":
                used[name] += _reaped(process) + _living(process)
        return used


def per_unit(
    before: Mapping[str, float], after: Mapping[str, float], units: float
) -> dict[str, float]:
    """Milliseconds per unit of work, the most expensive first, and their sum."""
    spent = {name: (after[name] - before[name]) * 1000 / max(units, 1) for name in after}
    ordered = dict(sorted(spent.items(), key=lambda item: -item[1]))
    return {**ordered, "all but the client": sum(spent.values()) - spent["client"]}


def _own(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _reaped(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _living(process: psutil.Process) -> float:
    total = 0.0
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += _own(child) + _reaped(child)
    return total
