"""How many should wait: demand, and the budget shared out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.sandbox.port import MIB, SandboxLimits, SandboxSpec
from infra.sandbox.warm_demand import IDLE, REMEMBERED, Demand, fit, share_out

LIMITS = SandboxLimits(time=10, memory=256 * MIB, cpus=1, output=MIB, processes=64)
SPEC = SandboxSpec(
    name="x-1",
    argv=("/fn/hello",),
    kind="run",
    function_dir=Path("/artifacts/abc"),
    stdin=0,
    limits=LIMITS,
    artifact="abc",
    function="ana/hello:1.0.0",
    may_be_warm=True,
)


def changed(**fields: Any) -> SandboxSpec:
    return msgspec.structs.replace(SPEC, **fields)


@pytest.mark.parametrize(
    "difference",
    [
        {"name": "y-2"},
        {"stdin": 7},
        {"limits": msgspec.structs.replace(LIMITS, time=1.0, output=1)},
    ],
)
def test_runs_of_a_function_fit_each_other(difference: dict[str, Any]) -> None:
    assert fit(changed(**difference)) == fit(SPEC)


@pytest.mark.parametrize(
    "difference",
    [
        {"argv": ("/fn/other",)},
        {"function_dir": Path("/artifacts/def")},
        {"artifact": "def"},
        {"image": "sha256:1"},
        {"function": "ben/hello:1.0.0"},
        {"env": {"A": "1"}},
        {"extra_ro_binds": (("/opt", "/opt"),)},
        {"limits": msgspec.structs.replace(LIMITS, memory=MIB)},
        {"limits": msgspec.structs.replace(LIMITS, cpus=2)},
        {"limits": msgspec.structs.replace(LIMITS, processes=1)},
        {"limits": msgspec.structs.replace(LIMITS, work_bytes=MIB)},
    ],
)
def test_what_the_program_would_see_otherwise_does_not_fit(difference: dict[str, Any]) -> None:
    assert fit(changed(**difference)) != fit(SPEC)


@pytest.mark.parametrize(
    "difference",
    [
        {"may_be_warm": False},
        {"kind": "build"},
        {"gpus": ("GPU-1",)},
        {"gpu_devices": ("/dev/nvidia0",)},
    ],
)
def test_some_are_never_warm(difference: dict[str, Any]) -> None:
    assert fit(changed(**difference)) is None


def test_one_waits_for_what_was_asked_for_once_until_ten_minutes_have_passed() -> None:
    demand = Demand()
    assert demand.wanted(0.0) == 0
    demand.asked(100.0)
    assert [demand.wanted(100.0 + after) for after in (0, 59, 61, IDLE - 1)] == [1, 1, 1, 1]
    assert demand.wanted(100.0 + IDLE) == 0


def test_as_many_wait_as_were_asked_for_within_five_seconds_for_a_minute() -> None:
    demand = Demand()
    for at in (0.0, 1.0, 2.0, 4.9, 20.0):
        demand.asked(at)
    assert demand.wanted(20.0) == 4
    assert demand.wanted(4.9 + REMEMBERED - 0.1) == 4
    assert demand.wanted(4.9 + REMEMBERED) == 1


def test_a_smaller_burst_is_remembered_when_the_larger_one_before_it_is_not() -> None:
    demand = Demand()
    for at in (*[0.0] * 9, *[50.0] * 4, *[57.0] * 2):
        demand.asked(at)
    assert [demand.wanted(at) for at in (59.0, 61.0, 109.0, 111.0, 118.0)] == [9, 4, 4, 2, 1]


def test_a_steady_demand_is_not_forgotten() -> None:
    demand = Demand()
    for second in range(1000):
        demand.asked(second)
        assert demand.wanted(second) == min(second + 1, 5)


@pytest.mark.parametrize(
    ("wanted", "budget", "shares"),
    [
        ([], 4, []),
        ([1, 1, 1], 4, [1, 1, 1]),
        ([5, 5], 4, [3, 1]),
        ([9, 1, 1], 4, [2, 1, 1]),
        ([9, 9, 9, 9, 9], 4, [1, 1, 1, 1, 0]),
        ([0, 3, 0, 2], 4, [0, 3, 0, 1]),
        ([3], 0, [0]),
    ],
)
def test_the_budget_goes_round_once_and_then_to_the_most_recent(
    wanted: list[int], budget: int, shares: list[int]
) -> None:
    assert share_out(wanted, budget) == shares


@given(st.lists(st.integers(0, 20)), st.integers(0, 40))
def test_shares_use_the_budget_and_never_more(wanted: list[int], budget: int) -> None:
    shares = share_out(wanted, budget)
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
    assert sum(shares) == min(budget, sum(wanted))
