"""How many sandboxes should wait for which function. Pure: callers bring the clock's readings."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

import msgspec

from infra.sandbox.port import SandboxSpec

BURST = 5.0
REMEMBERED = 60.0
IDLE = 600.0
# Those that `assign` may change, and those that need another way to be compared.
_NOT_COMPARED = ("name", "stdin", "held_fds", "limits", "env")


def fit(spec: SandboxSpec) -> Hashable | None:
    """Equal for two specs if one waiting sandbox could serve either; None if none ever may.

    Never with a GPU: those are leased to one attempt, and none is held for somebody who may come.
    """
    if not spec.may_be_warm or spec.kind != "run" or spec.gpus or spec.gpu_devices:
        return None
    fields = (name for name in spec.__struct_fields__ if name not in _NOT_COMPARED)
    limits = msgspec.structs.replace(spec.limits, time=0.0, output=0)
    return (*(getattr(spec, name) for name in fields), limits, tuple(sorted(spec.env.items())))


class Demand:
    """When a function was asked for lately.

    As many shall wait as were asked for within five seconds (BURST) in the last minute
    (REMEMBERED): while runs come in quick succession none is started beforehand. One in any case,
    none after ten idle minutes (IDLE).
    """

    def __init__(self) -> None:
        self._burst: deque[float] = deque()
        #: When, and how many: each smaller than the one before, so the first is the most.
        self._bursts: deque[tuple[float, int]] = deque()
        self.last = float("-inf")

    def asked(self, now: float) -> None:
        """It is asked for."""
        self.last = now
        self._burst.append(now)
        while self._burst[0] <= now - BURST:
            self._burst.popleft()
        while self._bursts and self._bursts[-1][1] <= len(self._burst):
            self._bursts.pop()
        self._bursts.append((now, len(self._burst)))

    def wanted(self, now: float) -> int:
        """How many should wait."""
        if now - self.last >= IDLE:
            return 0
        while self._bursts and self._bursts[0][0] <= now - REMEMBERED:
            self._bursts.popleft()
        return self._bursts[0][1] if self._bursts else 1


def share_out(wanted: Sequence[int], budget: int) -> list[int]:
    """Places of the budget for each function, given what they want, the most recently used first.

    Each gets one before any gets a second one; where places are short, the recent go before.
    """
    shares = [0] * len(wanted)
    for most in (1, max(wanted, default=0)):
        for place, want in enumerate(wanted):
            more = min(min(want, most) - shares[place], budget)
            shares[place] += more
            budget -= more
    return shares
