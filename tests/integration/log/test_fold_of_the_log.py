"""A fold kept up to date from real Kafka: its own verdict, races, gaps, and hostile records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hermes.domain import codec
from hermes.domain import events as ev
from hermes.domain.events import Recorded
from hermes.domain.ids import new_id
from hermes.domain.pool import Applied, PoolState
from hermes.domain.registry import RegistryApplied, RegistryState
from hermes.domain.resources import Input, Limits
from hermes.errors import LogError, LogUnavailable
from streams.fold import LogFold
from streams.log import LogWriter, new_event, recorded
from tests.integration.log.conftest import Pool

NO_INPUT = Input(bytes=0, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def a_request(pool: str = "default") -> ev.ExecutionRequested:
    return ev.ExecutionRequested(
        execution_id=new_id(),
        execution_kind="run",
        function="ada/primes",
        version="1.0.0",
        artifact_sha256="a" * 64,
        source_sha256="b" * 64,
        handler="./primes",
        language="cpp",
        owner="ada",
        owner_id="user-ada",
        pool=pool,
        input=NO_INPUT,
        limits=Limits(),
        gpu=None,
    )


def a_registration(source: str) -> ev.FunctionRegistered:
    return ev.FunctionRegistered(
        owner="ada",
        owner_id="user-ada",
        name="primes",
        version="1.0.0",
        config={},
        source_sha256=source,
    )


async def append_requests(pool: Pool, count: int) -> list[str]:
    made = [a_request() for _ in range(count)]
    for data in made:
        await pool.writer.append(pool.executions, data.execution_id, new_event(data, "test"))
    return [data.execution_id for data in made]


@asynccontextmanager
async def folding(pool: Pool) -> AsyncIterator[LogFold[PoolState, Applied]]:
    """The pool's fold, caught up; nobody follows."""
    fold: LogFold[PoolState, Applied] = LogFold(
        PoolState(pool=pool.settings.pool, topic=pool.executions), pool.reader(), pool.executions
    )
    await fold.start()
    try:
        yield fold
    finally:
        await fold.stop()


@asynccontextmanager
async def following(pool: Pool) -> AsyncIterator[LogFold[RegistryState, RegistryApplied]]:
    """The registry's fold, followed."""
    topic = pool.topics.registry
    fold: LogFold[RegistryState, RegistryApplied] = LogFold(
        RegistryState(topic=topic), pool.reader(topic), topic
    )
    await fold.start()
    task = asyncio.create_task(fold.follow())
    try:
        yield fold
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await fold.stop()


async def test_who_appends_reads_its_own_verdict(pool: Pool) -> None:
    async with following(pool) as fold:
        first = new_event(a_registration("1" * 64), "test")
        offset, verdict = await fold.append(pool.writer, "ada/primes", first)
        assert offset == 0
        assert not verdict.superseded
        assert verdict.function is not None
        assert verdict.function.registered_event == first.id
        again = new_event(a_registration("2" * 64), "test")
        offset, verdict = await fold.append(pool.writer, "ada/primes", again)
        assert offset == 1
        assert verdict.superseded


async def test_of_two_racing_registrations_one_wins_for_every_reader(pool: Pool) -> None:
    async with (
        following(pool) as one,
        following(pool) as other,
        LogWriter(pool.settings.bootstrap, timeout=10.0) as second_writer,
    ):
        events = [new_event(a_registration(str(n) * 64), "test") for n in range(6)]
        verdicts = await asyncio.gather(
            *(
                (one if n % 2 else other).append(
                    pool.writer if n % 2 else second_writer, "ada/primes", event
                )
                for n, event in enumerate(events)
            )
        )
        winners = [
            event for event, (_, v) in zip(events, verdicts, strict=True) if not v.superseded
        ]
        assert len(winners) == 1
        assert min(verdicts, key=lambda found: found[0])[1].misfit is None
        for fold in (one, other):
            assert await fold.reached(5, timeout=5.0)
            function = fold.state.functions["ada/primes"]["1.0.0"]
            assert function.registered_event == winners[0].id
            assert fold.state.superseded == 5


async def test_the_same_event_appended_twice_at_once_is_answered_twice(pool: Pool) -> None:
    async with following(pool) as fold:
        event = new_event(a_registration("1" * 64), "test")
        verdicts = await asyncio.gather(
            *(fold.append(pool.writer, "ada/primes", event) for _ in range(3))
        )
        assert not any(verdict.superseded for _, verdict in verdicts)
        await fold.reached(2, timeout=5.0)
        assert fold.state.superseded == 2


async def test_an_own_event_that_is_the_very_next_is_folded_without_reading(pool: Pool) -> None:
    async with folding(pool) as fold, pool.reader() as reader:
        seen: list[Recorded] = []
        fold.listen(lambda record, _: seen.append(record))
        await append_requests(pool, 3)
        await fold.catch_up()
        data = a_request()
        first = await fold.send(pool.writer, data.execution_id, new_event(data, "test"))
        cancel = ev.ExecutionCancelRequested(execution_id=data.execution_id)
        second = await fold.send(pool.writer, data.execution_id, new_event(cancel, "test"))
        await asyncio.gather(first, second)
        # Nobody follows, and nobody caught up.
        assert fold.state.next_offset == 5
        assert fold.state.live[data.execution_id].cancel_requested_at is not None
        # It is what everybody else reads, the broker's time included.
        reader.seek(0)
        read: list[Recorded] = []
        while len(read) < 5:
            read += [recorded(one) for one in await reader.batch(wait=2.0)]
        assert seen == read


async def test_an_own_event_behind_what_was_not_read_waits_for_that(pool: Pool) -> None:
    async with folding(pool) as fold, LogWriter(pool.settings.bootstrap, timeout=1.0) as writer:
        await append_requests(pool, 1)
        data = a_request()
        with pytest.raises(LogUnavailable, match="could not be read back"):
            await fold.append(writer, data.execution_id, new_event(data, "test"))
        assert fold.state.next_offset == 0
        await fold.catch_up()
        assert data.execution_id in fold.state.live


async def test_a_gap_is_read_before_a_record_beyond_it_is_folded(pool: Pool) -> None:
    """A stream that comes back after its partition was away rings with a far offset."""
    async with folding(pool) as fold:
        seen: list[int] = []
        fold.listen(lambda record, _: seen.append(record.offset))
        ids = await append_requests(pool, 20)
        async with pool.reader() as reader:
            raw = [one for one in [await reader.batch(wait=2.0)] for one in one]
        assert len(raw) == 20
        assert not fold.take(recorded(raw[7]))
        assert fold.state.next_offset == 0
        await fold.advance(8)
        assert fold.state.next_offset >= 8
        await fold.advance(20)
        assert fold.take(recorded(raw[3]))  # an old copy is taken and changes nothing
        assert seen == list(range(20))
        assert list(fold.state.live) == ids


async def test_the_doorbell_and_the_tick_may_read_on_at_the_same_time(pool: Pool) -> None:
    async with folding(pool) as fold:
        seen: list[int] = []
        fold.listen(lambda record, _: seen.append(record.offset))
        ids = await append_requests(pool, 60)
        async with pool.reader() as reader:
            raw: list[Any] = []
            while len(raw) < 60:
                raw += await reader.batch(wait=2.0)

        async def doorbell() -> None:
            for one in raw:
                if not fold.take(recorded(one)):
                    await fold.advance(one.offset + 1)
                await asyncio.sleep(0)

        await asyncio.gather(doorbell(), fold.catch_up(), fold.advance(30), doorbell())
        assert seen == list(range(60))
        assert list(fold.state.live) == ids


async def test_a_listener_is_told_until_it_stops_listening(pool: Pool) -> None:
    async with folding(pool) as fold:
        seen: list[int] = []
        stop = fold.listen(lambda record, _: seen.append(record.offset))
        await append_requests(pool, 1)
        await fold.catch_up()
        stop()
        await append_requests(pool, 1)
        await fold.catch_up()
        assert seen == [0]


async def test_an_offset_that_does_not_come_is_not_waited_for_without_end(pool: Pool) -> None:
    async with folding(pool) as fold:
        assert not await fold.reached(0, timeout=0.2)
        waiting = asyncio.create_task(fold.reached(0, timeout=5.0))
        await append_requests(pool, 1)
        await fold.catch_up()
        assert await waiting
        assert await fold.reached(0, timeout=0.0)


HOSTILE: list[tuple[bytes | None, bytes | None]] = [
    (b"key", None),
    (None, b"{}"),
    (b"", b""),
    (b"\xff\xfe", b"\x00\x01\x02"),
    (b"key", b"not JSON"),
    (b"key", b"[" * 100_000),
    (b"key", b'{"kind":"execution.exploded/1"}'),
    (b"key", b'{"id":"x","kind":"agent.left/1","occurred_at":"2026-01-01T00:00:00Z","data":{}}'),
    (b"k" * 10_000, b"{}"),
    (b"key", b"z" * (1024 * 1024 + 1)),
]


async def test_records_of_strangers_halt_nobody(pool: Pool) -> None:
    async with folding(pool) as fold:
        for key, value in HOSTILE:
            await pool.writer.acknowledged(
                await pool.writer._producer.send(pool.executions, value, key=key)
            )
        ids = await append_requests(pool, 1)
        await fold.catch_up()
        assert list(fold.state.live) == ids
        assert fold.state.malformed == len(HOSTILE)
        assert fold.state.next_offset == len(HOSTILE) + 1


async def test_a_record_of_a_newer_version_stops_its_reader_loudly(pool: Pool) -> None:
    async with folding(pool) as fold:
        (execution_id,) = await append_requests(pool, 1)
        data = a_request()
        value = codec.encode(new_event(data, "test")).replace(b"requested/1", b"requested/2")
        await pool.writer.acknowledged(
            await pool.writer.send(pool.executions, data.execution_id, value)
        )
        with pytest.raises(LogError, match=r"execution\.requested/2"):
            await fold.catch_up()
        with pytest.raises(LogError):
            await fold.catch_up()
        assert data.execution_id not in fold.state.live
        assert set(fold.state.live) <= {execution_id}


async def test_the_log_gives_its_own_time(pool: Pool) -> None:
    data = a_request()
    event = new_event(data, "test")
    await pool.writer._producer.send_and_wait(
        pool.executions,
        codec.encode(event),
        key=data.execution_id.encode(),
        timestamp_ms=1_000_000_000_000,
    )
    async with pool.reader() as reader:
        (raw,) = await reader.batch(wait=2.0)
    assert abs(recorded(raw).log_time - event.occurred_at.timestamp() * 1000) < 60_000
