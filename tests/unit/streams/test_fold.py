"""A fold that is kept up to date: gaps, holes, outages and newer versions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from hermes.domain import events as ev
from hermes.domain.codec import encode
from hermes.domain.pool import Applied, PoolState
from hermes.errors import LogError, LogUnavailable
from streams import fold as fold_module
from streams.fold import LogFold
from streams.log import recorded
from tests.unit.domain.making import NOW_MS, POOL, TOPIC, event, id_at, key_of, requested
from tests.unit.streams.fake_log import FakeWriter, Stored


def raw(offset: int, data: ev.EventData, value: bytes | None = None) -> ConsumerRecord:
    return ConsumerRecord(
        topic=TOPIC,
        partition=0,
        offset=offset,
        timestamp=NOW_MS,
        timestamp_type=1,
        key=key_of(data).encode(),
        value=value or encode(event(data, offset)),
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=(),
    )


class FakeReader:
    """Gives what stands behind its place, a few at a time; `troubles` come first."""

    def __init__(self, records: list[ConsumerRecord]) -> None:
        self.records = records
        self.troubles: list[Exception] = []
        self.at = 0

    def seek(self, offset: int) -> None:
        self.at = offset

    def rest(self) -> None:
        self.at = -1

    async def end_offset(self) -> int:
        return len(self.records)

    async def batch(self, wait: float = 0.2, most: int = 5000) -> list[ConsumerRecord]:
        await asyncio.sleep(0.001)
        if self.troubles:
            raise self.troubles.pop()
        found = [one for one in self.records if one.offset >= self.at][:3]
        self.at = found[-1].offset + 1 if found else self.at
        return found


def standing(count: int) -> list[ConsumerRecord]:
    return [raw(offset, requested(id_at(offset))) for offset in range(count)]


def fold_of(reader: Any) -> LogFold[PoolState, Applied]:
    return LogFold(PoolState(pool=POOL, topic=TOPIC), reader, TOPIC)


async def test_it_catches_up_once_and_in_order() -> None:
    fold = fold_of(FakeReader(standing(10)))
    seen: list[int] = []
    fold.listen(lambda record, _: seen.append(record.offset))
    await asyncio.gather(fold.catch_up(), fold.advance(4), fold.catch_up())
    assert seen == list(range(10))
    assert len(fold.state.live) == 10


async def test_a_record_beyond_a_gap_is_not_taken() -> None:
    records = standing(5)
    fold = fold_of(FakeReader(records))
    assert not fold.take(recorded(records[2]))
    assert fold.take(recorded(records[0]))
    assert fold.take(recorded(records[0]))
    assert fold.state.next_offset == 1


async def test_records_that_are_gone_stop_it_loudly() -> None:
    fold = fold_of(FakeReader([one for one in standing(6) if one.offset not in (3, 4)]))
    with pytest.raises(LogError, match="offset 3 is gone"):
        await fold.advance(6)
    assert fold.state.next_offset == 3


async def test_a_newer_version_stops_it_loudly_again_and_again() -> None:
    records = standing(3)
    records[1] = raw(
        1, requested(id_at(1)), records[1].value.replace(b"requested/1", b"requested/2")
    )
    fold = fold_of(FakeReader(records))
    for _ in range(2):
        with pytest.raises(LogError, match="upgrade"):
            await fold.catch_up()


async def test_an_outage_does_not_end_who_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_module, "PAUSE", 0.01)
    reader = FakeReader(standing(4))
    reader.troubles = [LogUnavailable("away"), LogUnavailable("away")]
    fold = fold_of(reader)
    following = asyncio.create_task(fold.follow())
    assert await fold.reached(3, timeout=2.0)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert reader.troubles == []


async def test_a_log_that_gives_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = fold_of(FakeReader([]))
    with pytest.raises(LogUnavailable, match="gives no record at 0"):
        await fold.advance(1)


async def test_who_waits_for_an_offset_is_woken_by_it_and_no_sooner() -> None:
    records = standing(3)
    fold = fold_of(FakeReader(records))
    waiting = [asyncio.create_task(fold.reached(offset, 2.0)) for offset in (0, 2)]
    await asyncio.sleep(0)
    fold.take(recorded(records[0]))
    await asyncio.sleep(0.01)
    assert [one.done() for one in waiting] == [True, False]
    fold.take(recorded(records[1]))
    fold.take(recorded(records[2]))
    assert await waiting[1]


class PromptWriter(FakeWriter):
    """Acknowledges at once, with the broker's time."""

    async def send(self, *args: Any, **more: Any) -> asyncio.Future[Any]:
        await super().send(*args, **more)
        stored = Stored(len(self.sent) - 1, timestamp=NOW_MS, timestamp_type=1)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(stored)
        return future


async def test_what_fails_at_an_own_event_ends_who_reads_on() -> None:
    fold = fold_of(FakeReader([]))
    following = asyncio.create_task(fold.follow())
    await asyncio.sleep(0.01)
    assert not following.done()

    def fail(*_: object) -> None:
        raise ValueError("no room in the journal")

    fold.listen(fail)
    writer: Any = PromptWriter()
    await fold.send(writer, "key", event(requested(id_at(0)), 0))
    with pytest.raises(ValueError, match="no room in the journal"):
        await asyncio.wait_for(following, 2.0)
