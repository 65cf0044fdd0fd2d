"""The agent's reactions to its pool's topic, record by record."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.pool import Applied, PoolState
from hermes.errors import LogUnavailable
from infra.gpu import FakeNvml, GpuLibrary, locks
from streams.agent import role
from streams.agent.gpu_keeper import GpuKeeper
from streams.agent.role import Agent
from streams.fold import LogFold
from tests.unit.domain.making import (
    TOPIC,
    PoolPartition,
    attempt_lost,
    cancel_requested,
    claimed,
    finished,
    gpu,
    gpu_released,
    id_at,
    inventory,
    joined,
    requested,
    scheduled,
    started,
    took_over,
    wants,
)
from tests.unit.streams.fake_host import FakeHost
from tests.unit.streams.test_attempt import until

X, Y = id_at(1), id_at(2)


class FakeReader:
    """A partition that the test appends to by hand; there is never more to read."""

    state: PoolState

    async def end_offset(self) -> int:
        return self.state.next_offset


class Stage:
    """An agent `a1/i1` that has joined, its log, and its host."""

    def __init__(self, spool: Path, gpus: GpuLibrary | None = None) -> None:
        self.partition = PoolPartition()
        reader: Any = FakeReader()
        reader.state = self.partition.state
        self.fold: LogFold[PoolState, Applied] = LogFold(self.partition.state, reader, TOPIC)
        self.parts = FakeHost(spool, self.fold, gpus)
        self.agent = Agent(self.parts.host, "hermes.heartbeats.default", inventory())

    async def join(self) -> None:
        self.log(took_over(), joined("a1", "i1", gpu("g1")))
        await self.agent.join()
        self.parts.events.sent.clear()

    def log(self, *facts: ev.EventData) -> None:
        """These stand in the log now, and the agent has read them."""
        for data in facts:
            assert self.fold.take(self.partition.record(data))

    @property
    def kinds(self) -> list[str]:
        return self.parts.events.kinds

    def heartbeats(self) -> list[dict[str, Any]]:
        found = [json.loads(sent.value) for sent in self.parts.events.sent]
        return [one for one in found if "kind" not in one]

    async def to_running(self) -> None:
        self.log(requested(X), scheduled(X))
        await until(lambda: self.kinds == ["claimed"])
        self.log(claimed(X))
        await until(lambda: self.kinds == ["claimed", "started"])
        self.log(started(X))


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(role, "TICK", 0.01)
    made = Stage(tmp_path)
    await made.join()
    yield made
    await made.agent.leave("stopped")


@pytest.fixture
async def ticking(stage: Stage) -> AsyncIterator[Stage]:
    task = asyncio.create_task(stage.agent.tick())
    yield stage
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_scheduled_to_it_is_claimed_once(stage: Stage) -> None:
    stage.log(requested(X), scheduled(X))
    await until(lambda: stage.kinds)
    await asyncio.sleep(0.05)
    assert stage.kinds == ["claimed"]


async def test_what_is_scheduled_to_others_or_superseded_is_left_alone(ticking: Stage) -> None:
    ticking.log(joined("a2"), requested(X), scheduled(X, agent="a2"))
    ticking.log(requested(Y), scheduled(Y, epoch=0), scheduled(Y, attempt=2))
    await asyncio.sleep(0.05)
    assert ticking.kinds == []


async def test_what_was_scheduled_before_it_listened_is_found_on_a_tick(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.log(took_over(), joined(), requested(X), scheduled(X))
    await stage.agent.join()
    assert stage.kinds == ["agent.joined"]
    task = asyncio.create_task(stage.agent.tick())
    await until(lambda: "claimed" in stage.kinds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await stage.agent.leave("stopped")


async def test_its_own_claim_in_the_log_starts_the_program(stage: Stage) -> None:
    await stage.to_running()
    prepared = stage.parts.sandbox.prepared
    assert prepared is not None
    await until(lambda: prepared.went)


async def test_a_lost_attempt_is_ended_without_a_word(ticking: Stage) -> None:
    await ticking.to_running()
    first = ticking.parts.sandbox.prepared
    assert first is not None
    await until(lambda: first.went)
    ticking.log(attempt_lost(X))
    await until(lambda: first.closed)
    assert "finished" not in ticking.kinds


async def test_the_next_attempt_on_the_same_agent_begins_when_the_last_is_gone(
    ticking: Stage,
) -> None:
    await ticking.to_running()
    first = ticking.parts.sandbox.prepared
    assert first is not None
    await until(lambda: first.went)
    first.dies_when_killed = False
    ticking.log(attempt_lost(X), scheduled(X, 2))
    await asyncio.sleep(0.05)
    assert ticking.kinds == ["claimed", "started"]
    first.end()
    await until(lambda: ticking.kinds == ["claimed", "started", "claimed"])
    assert first.closed
    assert ticking.parts.events.events[-1][1]["attempt"] == 2


async def test_a_cancellation_reaches_the_program_once(ticking: Stage) -> None:
    await ticking.to_running()
    prepared = ticking.parts.sandbox.prepared
    assert prepared is not None
    await until(lambda: prepared.went)
    prepared.dies_when_killed = False
    ticking.log(cancel_requested(X))
    await asyncio.sleep(0.1)
    assert len(prepared.kills) == 1
    prepared.end()


async def test_an_execution_that_ended_without_it_is_ended_here_too(ticking: Stage) -> None:
    await ticking.to_running()
    prepared = ticking.parts.sandbox.prepared
    assert prepared is not None
    await until(lambda: prepared.went)
    ticking.log(attempt_lost(X), finished(X, outcome="lost", exit_code=None))
    await until(lambda: prepared.closed)


async def test_only_what_the_log_lets_it_hold_is_renewed(stage: Stage) -> None:
    """A claim that was lost on its way would otherwise be renewed, and waited for, for ever."""
    stage.log(requested(X), scheduled(X))
    await until(lambda: stage.kinds == ["claimed"])
    await stage.agent.beat()
    stage.log(claimed(X))
    await until(lambda: stage.kinds == ["claimed", "started"])
    await stage.agent.beat()
    assert [beat["running"] for beat in stage.heartbeats()] == [{}, {X: 1}]


async def test_the_gpu_of_a_lost_attempt_is_released_when_its_sandbox_is_gone(
    ticking: Stage,
) -> None:
    ticking.log(requested(X, gpu=wants()), scheduled(X, gpus=("g1",)), attempt_lost(X))
    await until(lambda: "gpu_released" in ticking.kinds)
    data = next(d for kind, d in ticking.parts.events.events if kind == "gpu_released")
    assert data == {"execution_id": X, "attempt": 1, "gpus": ["g1"]}


async def test_a_gpu_is_not_released_while_its_attempt_is_held(ticking: Stage) -> None:
    ticking.log(requested(X, gpu=wants()), scheduled(X, gpus=("g1",)))
    await asyncio.sleep(0.05)
    assert "gpu_released" not in ticking.kinds


async def test_the_gpu_of_an_agent_that_is_no_more_is_released_by_another_of_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(role, "TICK", 0.01)
    monkeypatch.setattr(locks, "_LOCKS", tmp_path)
    library = FakeNvml(1, new_id())
    (uuid,) = library.inventory()
    stage = Stage(tmp_path, library)
    await stage.join()
    stage.log(joined("old-name", "i7", gpu(uuid), gpu("g9")), requested(X, gpu=wants(2)))
    held = locks.lock(uuid)
    stage.log(scheduled(X, agent="old-name", incarnation="i7", gpus=(uuid, "g9")))
    ticks = asyncio.create_task(stage.agent.tick())
    await asyncio.sleep(0.05)
    stage.log(attempt_lost(X))
    await asyncio.sleep(0.05)
    assert stage.kinds == [], "its sandbox lives"
    os.close(held)
    await until(lambda: stage.kinds)
    (kind, data), *_ = stage.parts.events.events
    assert (kind, data) == ("gpu_released", {"execution_id": X, "attempt": 1, "gpus": [uuid]})
    stage.log(gpu_released(X, 1, uuid))
    assert set(stage.fold.state.gpus) == {"g9"}, "this host has no such GPU"
    ticks.cancel()
    await asyncio.gather(ticks, return_exceptions=True)
    await stage.agent.leave("stopped")


async def test_what_another_agent_of_its_host_runs_is_not_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduled to it, and not yet locked by it."""
    monkeypatch.setattr(role, "TICK", 0.01)
    monkeypatch.setattr(locks, "_LOCKS", tmp_path)
    library = FakeNvml(1, new_id())
    (uuid,) = library.inventory()
    stage = Stage(tmp_path, library)
    await stage.join()
    stage.log(joined("a2", "i7", gpu(uuid)), requested(X, gpu=wants()))
    stage.log(scheduled(X, agent="a2", incarnation="i7", gpus=(uuid,)))
    ticks = asyncio.create_task(stage.agent.tick())
    await asyncio.sleep(0.1)
    assert stage.kinds == []
    ticks.cancel()
    await asyncio.gather(ticks, return_exceptions=True)
    await stage.agent.leave("stopped")


async def test_a_heartbeat_names_the_gpus_that_are_out_of_service(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GpuKeeper, "drained", {"g1": "Xid 79"})
    await stage.agent.beat()
    assert stage.heartbeats()[-1]["drained_gpus"] == {"g1": "Xid 79"}


async def test_another_agent_of_its_name_ends_it(stage: Stage) -> None:
    stage.log(joined("a1", "i2"))
    with pytest.raises(LogUnavailable, match="another agent joined as a1"):
        async with asyncio.timeout(2):
            await stage.agent.tick()


async def test_leaving_ends_what_runs_and_says_goodbye(stage: Stage) -> None:
    await stage.to_running()
    prepared = stage.parts.sandbox.prepared
    assert prepared is not None
    await until(lambda: prepared.went)
    await stage.agent.leave("stopped")
    assert prepared.closed
    assert stage.kinds[-1] == "agent.left"
    assert "finished" not in stage.kinds
    stage.log(requested(Y), scheduled(Y))
    await asyncio.sleep(0.05)
    assert stage.kinds[-1] == "agent.left"
