"""Ids by a clock that is not always right."""

from __future__ import annotations

import pytest

from hermes.domain import ids
from hermes.domain.ids import id_time_ms, new_id

HOUR_NS = 3600 * 1_000_000_000


class FakeTime:
    def __init__(self, ns: int) -> None:
        self.ns = ns

    def time_ns(self) -> int:
        return self.ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clock = FakeTime(1_790_000_000 * 1_000_000_000)
    monkeypatch.setattr(ids, "time", clock)
    monkeypatch.setattr(ids, "_last_ns", 0)
    return clock


def test_ids_rise_while_the_clock_stands_still_or_is_put_back_a_little(clock: FakeTime) -> None:
    made = [new_id() for _ in range(100)]
    clock.ns -= 2_000_000_000
    made += [new_id() for _ in range(100)]
    assert made == sorted(set(made))


def test_ids_follow_a_clock_that_was_days_ahead(clock: FakeTime) -> None:
    right = clock.ns
    clock.ns += 72 * HOUR_NS
    new_id()
    clock.ns = right
    assert abs(id_time_ms(new_id()) - right // 1_000_000) < 1000
