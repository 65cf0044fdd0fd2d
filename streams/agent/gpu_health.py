"""Whether a GPU may serve the next attempt: what the driver says of it, in a reason or none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from infra.gpu import GpuCondition, GpuFault

#: Errors that programs cause by their own mistakes: a wild pointer, a broken kernel, a channel torn
#: down. The GPU is as good as before.
XIDS_OF_PROGRAMS = frozenset({13, 31, 43, 45, 68, 109})
_WORDS = {
    48: "a memory error that ECC cannot correct",
    62: "its own firmware has halted",
    63: "a row of its memory is to be remapped",
    64: "a row of its memory could not be remapped",
    74: "an NVLink error",
    79: "it has fallen off the bus",
    92: "many memory errors that ECC corrects",
    94: "a contained memory error",
    95: "an uncontained memory error",
    119: "its system processor does not answer",
    120: "an error of its system processor",
    140: "a memory error that ECC cannot correct",
    154: "the driver asks for a recovery",
}
_LOOK = 0.1


class Finding(msgspec.Struct, frozen=True):
    """`reason` is why the GPU may serve nobody, `None` if it may. `uncorrected` is the count of
    memory errors to compare with next time; `tells_needs` is whether a driver that asks for nothing
    says thereby that nothing is needed."""

    reason: str | None
    uncorrected: int | None = None
    tells_needs: bool = False


def xid_reason(code: int) -> str:
    """In words, with the number that NVIDIA's documents have."""
    words = _WORDS.get(code)
    return f"Xid {code}" + (f": {words}" if words else "")


async def examine(
    ask: Callable[[], Awaitable[GpuCondition]],
    *,
    before: int | None = None,
    linger: float = 0.0,
) -> Finding:
    """Look at a GPU on which nothing ought to run.

    `before` is how many memory errors it had when it was well (None: unknown), `linger` is how many
    seconds the driver may take to forget a process that has died.
    """
    deadline = time.monotonic() + linger
    while True:
        try:
            condition = await ask()
        except GpuFault as error:
            return Finding(str(error))
        if not condition.processes or time.monotonic() >= deadline:
            break
        await asyncio.sleep(_LOOK)
    return Finding(_reason(condition, before), condition.uncorrected, condition.tells_needs)


def _reason(condition: GpuCondition, before: int | None) -> str | None:
    if condition.needs is not None:
        return f"it needs {condition.needs}"
    if before is not None and condition.uncorrected > before:
        return f"{condition.uncorrected - before} memory errors that ECC could not correct"
    if condition.processes:
        numbers = ", ".join(map(str, condition.processes))
        plural = len(condition.processes) > 1
        return f"process{'es' if plural else ''} {numbers} still use{'' if plural else 's'} it"
    return None
