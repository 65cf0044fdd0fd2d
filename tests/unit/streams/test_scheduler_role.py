"""The scheduler beside its fold: leadership, decisions on their way, and lost attempts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hermes.domain import events as ev
from hermes.errors import LogUnavailable
from hermes.settings import Settings
from streams import scheduler
from streams.heartbeats import Heartbeat
from streams.scheduler import Scheduler
from tests.unit.domain.making import (
    PoolPartition,
    cancel_requested,
    claimed,
    finished,
    id_at,
    joined,
    requested,
    scheduled,
    started,
    took_over,
)
from tests.unit.streams.fake_host import EventWriter

X, Y = id_at(1), id_at(2)


class FakeEnds:
    """Ends of partitions, as the test sets them."""

    def __init__(self) -> None:
        self.next_offset = 5
        self.end = 5
        self.state: Any = None

    async def end_offset(self) -> int:
        return self.state.next_offset if self.state is not None else self.end

    async def end_offset_of(self, topic: str, partition: int) -> int:
        return 900 + partition


class Stage:
    """A scheduler whose log and heartbeats are the test's."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writer = EventWriter()
        self.heartbeats = FakeEnds()
        reader = FakeEnds()
        for name, stand_in in (
            ("LogWriter", self.writer),
            ("HeartbeatReader", self.heartbeats),
            ("PartitionReader", reader),
        ):
            monkeypatch.setattr(scheduler, name, lambda *_, made=stand_in, **__: made)
        settings = Settings(home=home, kafka="localhost:1", lease=10.0, claim_timeout=10.0)
        self.scheduler = Scheduler(settings, "default")
        self.partition = PoolPartition()
        self.partition.state = reader.state = self.scheduler.fold.state

    def log(self, *facts: ev.EventData) -> None:
        for data in facts:
            assert self.scheduler.fold.take(self.partition.record(data))

    async def lead(self) -> None:
        """It has the partition, and its own takeover stands in the log."""
        await self.scheduler.assigned(True)
        self.log(took_over(1, self.scheduler._id), joined())
        assert self.scheduler.leads

    def age(self, seconds: float) -> None:
        """As if nobody had renewed anything for so long."""
        leases = self.scheduler._leases
        leases._renewed = {key: at - seconds for key, at in leases._renewed.items()}

    @property
    def kinds(self) -> list[str]:
        return self.writer.kinds


@pytest.fixture
def follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """It does not lead."""
    return Stage(tmp_path, monkeypatch)


@pytest.fixture
async def stage(follower: Stage) -> AsyncIterator[Stage]:
    made = follower
    await made.lead()
    yield made


async def test_a_decision_is_made_once_while_it_is_on_its_way(stage: Stage) -> None:
    stage.writer.holds = True
    stage.log(requested(X))
    for _ in range(3):
        await stage.scheduler._act()
    assert stage.kinds == ["scheduled"]
    stage.log(scheduled(X))
    await stage.scheduler._act()
    assert stage.kinds == ["scheduled"]


async def test_only_who_waits_for_long_is_told_so(stage: Stage) -> None:
    waiting = [id_at(number) for number in range(1, 7)]
    stage.log(*(requested(one) for one in waiting))
    for _ in range(2):
        await stage.scheduler._act()
    assert stage.kinds == ["scheduled"] * 4
    await asyncio.sleep(scheduler.ANNOUNCE_AFTER)
    stage.log(*(scheduled(one) for one in waiting[:4]))
    for _ in range(2):
        await stage.scheduler._act()
    assert stage.kinds == ["scheduled"] * 4 + ["queued"] * 2


async def test_a_decision_that_could_not_be_handed_over_is_made_again(stage: Stage) -> None:
    stage.log(requested(X))
    stage.writer.refusals = 1
    with pytest.raises(LogUnavailable):
        await stage.scheduler._act()
    await stage.scheduler._act()
    assert stage.kinds == ["scheduled"]


async def test_a_decision_that_the_broker_refused_is_made_again(stage: Stage) -> None:
    stage.log(requested(X))
    stage.writer.failure = LogUnavailable("refused")
    await stage.scheduler._act()
    await asyncio.sleep(0)
    stage.writer.failure = None
    await stage.scheduler._act()
    assert stage.kinds == ["scheduled", "scheduled"]


async def test_a_decision_carries_the_epoch_in_which_it_was_made(stage: Stage) -> None:
    """Also when another scheduler takes over while it is being sent."""
    stage.log(requested(X), requested(Y))

    def another_takes_over(kind: str) -> None:
        stage.writer.before = None
        stage.log(took_over(2, "another"))

    stage.writer.before = another_takes_over
    await stage.scheduler._act()
    assert stage.scheduler.fold.state.epoch == 2
    epochs = [data["epoch"] for kind, data in stage.writer.events if kind == "scheduled"]
    assert epochs == [1, 1]


async def test_who_has_not_the_partition_decides_nothing(follower: Stage) -> None:
    stage = follower
    stage.log(took_over(), joined(), requested(X))
    await stage.scheduler._act()
    assert stage.kinds == []


async def test_who_gets_the_partition_takes_over_first(follower: Stage) -> None:
    stage = follower
    stage.log(took_over(4), joined(), requested(X))
    await stage.scheduler.assigned(True)
    await stage.scheduler._act()
    assert [(kind, data["epoch"]) for kind, data in stage.writer.events] == [
        ("scheduler.took_over", 5)
    ]


async def test_who_was_overtaken_does_not_take_the_partition_straight_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was frozen does not know yet that the partition went to another."""
    await stage.scheduler._act()
    stage.log(took_over(2, "another"), requested(X))
    for _ in range(3):
        await stage.scheduler._act()
    assert stage.kinds == []
    monkeypatch.setattr(scheduler, "OVERTAKEN_PAUSE", 0.0)
    await stage.scheduler._act()  # nobody took it away: it is ours
    assert stage.kinds == ["scheduler.took_over"]


async def to_running(stage: Stage) -> None:
    stage.log(requested(X), scheduled(X), claimed(X), started(X))
    await stage.scheduler._act()
    assert stage.kinds == []


async def test_a_lease_that_ran_out_is_called_only_after_all_heartbeats_are_read(
    stage: Stage,
) -> None:
    await to_running(stage)
    stage.age(11)
    stage.heartbeats.end = 8
    for _ in range(3):
        await stage.scheduler._act()
        stage.age(0)
    assert stage.kinds == []
    stage.heartbeats.next_offset = 8
    await stage.scheduler._act()
    assert stage.kinds == ["attempt_lost"]
    data = stage.writer.events[0][1]
    assert (data["attempt"], data["epoch"], data["reason"]) == (1, 1, "lease_expired")
    assert data["output_end_offset"] == 902


async def test_a_heartbeat_that_was_late_but_not_too_late_saves_the_attempt(stage: Stage) -> None:
    await to_running(stage)
    stage.age(11)
    stage.heartbeats.end = 8
    await stage.scheduler._act()
    stage.heartbeats.next_offset = 8
    stage.scheduler._heard(Heartbeat(agent="a1", incarnation="i1", running={X: 1}))
    await stage.scheduler._act()
    assert stage.kinds == []


async def test_a_restarted_agent_loses_its_attempts_without_waiting(stage: Stage) -> None:
    await to_running(stage)
    stage.log(joined("a1", "i2"))
    await stage.scheduler._act()
    assert stage.kinds[0] == "attempt_lost"


async def test_a_cancelled_request_is_ended(stage: Stage) -> None:
    stage.log(requested(X), cancel_requested(X))
    await stage.scheduler._act()
    kind, data = stage.writer.events[0]
    assert (kind, data["outcome"], data["attempt"]) == ("finished", "cancelled", 0)


async def test_who_stands_by_keeps_nothing_of_what_it_hears(follower: Stage) -> None:
    stood_by = follower.scheduler
    for attempt in range(1, 50):
        stood_by._heard(Heartbeat(agent="a1", incarnation="i1", running={X: attempt}))
    assert not stood_by._leases._renewed


async def test_what_frees_no_place_and_needs_none_costs_no_plan(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def counted(*given: Any) -> Any:
        plans.append(given)
        return plan(*given)

    plan = scheduler.plan
    monkeypatch.setattr(scheduler, "plan", counted)
    monkeypatch.setattr(scheduler, "ANNOUNCE_AFTER", 60.0)
    stage.log(requested(X))
    await stage.scheduler._act()
    for data in (scheduled(X), claimed(X), started(X)):
        stage.log(data)
        await stage.scheduler._act()
    assert len(plans) == 1
    for data in (requested(Y), finished(X)):
        stage.log(data)
        await stage.scheduler._act()
    assert len(plans) == 3
    assert stage.kinds == ["scheduled", "scheduled"]


async def test_an_agent_that_is_heard_again_gets_work_without_an_event(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "ANNOUNCE_AFTER", 0.02)
    await stage.scheduler._act()
    stage.scheduler._leases._agents = {("a1", "i1"): time.monotonic() - 60}
    stage.log(requested(X))
    await stage.scheduler._act()
    assert "scheduled" not in stage.kinds
    stage.scheduler._heard(Heartbeat(agent="a1", incarnation="i1", running={}))
    await asyncio.sleep(0.03)
    await stage.scheduler._act()
    assert "scheduled" in stage.kinds
