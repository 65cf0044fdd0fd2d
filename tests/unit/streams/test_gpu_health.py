"""What makes a GPU unfit for the next attempt."""

from __future__ import annotations

import time

import pytest

from infra.gpu import GpuCondition, GpuFault
from streams.agent.gpu_health import XIDS_OF_PROGRAMS, examine, xid_reason


async def found(condition: GpuCondition, before: int | None = 0) -> str | None:
    async def ask() -> GpuCondition:
        return condition

    return (await examine(ask, before=before)).reason


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (GpuCondition(), None),
        (GpuCondition(tells_needs=True), None),
        (GpuCondition(needs="a reset"), "it needs a reset"),
        (GpuCondition(processes=(7,)), "process 7 still uses it"),
        (GpuCondition(processes=(7, 8)), "processes 7, 8 still use it"),
        (GpuCondition(uncorrected=2), "2 memory errors that ECC could not correct"),
    ],
)
async def test_what_the_driver_says_is_the_reason(
    condition: GpuCondition, reason: str | None
) -> None:
    assert await found(condition) == reason


async def test_memory_errors_from_before_are_not_counted_again() -> None:
    assert await found(GpuCondition(uncorrected=2), before=2) is None
    assert await found(GpuCondition(uncorrected=2), before=None) is None


async def test_one_that_cannot_be_asked_is_unfit() -> None:
    async def ask() -> GpuCondition:
        raise GpuFault("it has fallen off the bus")

    assert (await examine(ask)).reason == "it has fallen off the bus"


async def test_a_process_that_has_died_is_forgiven_for_a_while() -> None:
    began = time.monotonic()

    async def ask() -> GpuCondition:
        return GpuCondition(processes=(7,) if time.monotonic() - began < 0.3 else ())

    assert (await examine(ask, linger=5.0)).reason is None
    assert 0.3 <= time.monotonic() - began < 2.0


def test_errors_are_named_in_words() -> None:
    assert xid_reason(79) == "Xid 79: it has fallen off the bus"
    assert xid_reason(999) == "Xid 999"
    assert 79 not in XIDS_OF_PROGRAMS
    assert 31 in XIDS_OF_PROGRAMS
