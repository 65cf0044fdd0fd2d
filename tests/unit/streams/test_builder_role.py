"""The builder beside its two folds: what it asks for, and what it reports."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hermes.domain import events as ev
from hermes.domain.codec import decode
from hermes.domain.events import Event
from hermes.domain.resources import Position
from hermes.settings import Settings
from streams import builder
from streams.builder import Builder
from tests.unit.domain.making import (
    HOUR_MS,
    NOW_MS,
    PoolPartition,
    RegistryPartition,
    cancel_requested,
    id_at,
    registered,
)
from tests.unit.streams.fake_log import Stored


class FakeEnds:
    """Partitions that end where their fold stands."""

    state: Any = None

    async def end_offset(self) -> int:
        return int(self.state.next_offset)


class Stage:
    """A builder whose log is the test's: what it appends is folded at once."""

    timeout = 1.0

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        reader = FakeEnds()
        monkeypatch.setattr(builder, "LogWriter", lambda *_, **__: self)
        monkeypatch.setattr(builder, "PartitionReader", lambda *_, **__: reader)
        self.builder = Builder(Settings(home=home, kafka="localhost:1"))
        self.pool, self.registry = PoolPartition(), RegistryPartition()
        reader.state = self.builder.registry.state

    async def send(self, topic: str, key: str, value: bytes) -> asyncio.Future[Any]:
        event = decode(value)
        assert isinstance(event, Event)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(Stored((await self.append(topic, key, event)).offset))
        return future

    async def acknowledged(self, future: asyncio.Future[Any]) -> Position:
        return Position("", 0, (await future).offset)

    async def append(self, topic: str, key: str, event: Event) -> Position:
        into = self.pool if topic == self.builder.pool.topic else self.registry
        fold: Any = self.builder.pool if into is self.pool else self.builder.registry
        record = into.record(event.data, key, event.id)
        asyncio.get_running_loop().call_soon(fold.take, record)
        await asyncio.sleep(0)
        return Position(topic, 0, record.offset)

    def register(self, at_ms: int) -> None:
        assert self.builder.registry.take(
            self.registry.record(registered(), "ada/primes", id_at(7, at_ms))
        )

    @property
    def status(self) -> str:
        return self.builder.registry.state.functions["ada/primes"]["1.0.0"].status


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


async def test_a_function_is_built_in_a_pool_in_which_nothing_ever_happened(stage: Stage) -> None:
    stage.register(NOW_MS)
    await stage.builder._react()
    assert len(stage.builder.pool.state.live) == 1
    assert stage.status == "registered"


async def test_a_function_is_built_after_days_in_which_nothing_happened(stage: Stage) -> None:
    old: ev.EventData = cancel_requested(id_at(1))
    assert stage.builder.pool.take(stage.pool.record(old))
    stage.pool.log_time = NOW_MS + 72 * HOUR_MS
    stage.register(NOW_MS + 72 * HOUR_MS)
    await stage.builder._react()
    assert len(stage.builder.pool.state.live) == 1
    assert stage.status == "registered"


async def test_a_build_that_comes_too_late_fails_and_says_why(stage: Stage) -> None:
    stage.register(NOW_MS)
    stage.pool.log_time = NOW_MS + 25 * HOUR_MS
    await stage.builder._react()
    assert stage.status == "build_failed"
    function = stage.builder.registry.state.functions["ada/primes"]["1.0.0"]
    assert function.error is not None and "24 hours" in function.error


async def test_a_build_that_was_asked_for_already_is_left_alone(stage: Stage) -> None:
    stage.register(NOW_MS)
    function = stage.builder.registry.state.functions["ada/primes"]["1.0.0"]
    await stage.builder._request(function)
    await stage.builder._request(function)
    assert stage.builder.pool.state.superseded == 1
    assert stage.status == "registered"
