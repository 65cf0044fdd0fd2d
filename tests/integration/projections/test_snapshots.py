"""Snapshots shorten a projector's start, and never change what it shows."""

from __future__ import annotations

import asyncio

import asyncpg

from hermes.domain import pool as fold
from hermes.domain.events import Malformed, Recorded
from hermes.domain.ids import id_time_ms, new_id
from projections import feed
from projections.database import open_writers
from projections.definitions import Source
from projections.feed import Feed
from projections.snapshots import newest_snapshot, save_snapshot
from streams.log import new_event
from tests.support import log_samples as sample


async def _feed_to_the_end(stage, pool: asyncpg.Pool) -> Feed:
    running = Feed(
        pool, stage.settings.bootstrap, Source("executions", stage.executions, 0, "default")
    )
    position = await stage.run_executions(sample.requested())
    task = asyncio.create_task(running.run(asyncio.Event(), lambda _: None))
    await stage.views.wait_for([position], timeout=20)
    async with asyncio.timeout(10):
        while not await stage.database.fetchval("SELECT count(*) FROM hermes.snapshots"):
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return running


async def test_a_projector_starts_from_its_newest_snapshot(stage, monkeypatch):
    monkeypatch.setattr(feed, "_SNAPSHOT_RECORDS", 50)
    ids = [new_id() for _ in range(60)]
    await stage.run_executions(sample.joined(), *[sample.requested(i) for i in ids])
    pool = await open_writers(stage.settings.database_url)
    try:
        await _feed_to_the_end(stage, pool)
        # What is in the log before the snapshot is not folded again: it may as well be unreadable.
        monkeypatch.setattr(
            feed.PoolInterpreter,
            "take",
            _refusing_before(60, feed.PoolInterpreter.take),
        )
        await stage.run_executions(*sample.whole_life(ids[0]))
        await _feed_to_the_end(stage, pool)
    finally:
        pool.terminate()
    monkeypatch.undo()
    assert await stage.differences() == []


def _refusing_before(offset: int, take):
    def guarded(self, raw):
        assert raw.offset >= offset
        return take(self, raw)

    return guarded


async def test_snapshots_of_other_rules_or_logs_or_damaged_ones_are_not_used(stage, monkeypatch):
    state = fold.PoolState(pool="default", topic=stage.executions, next_offset=7)
    async with stage.database.acquire() as connection:
        await save_snapshot(connection, state, "first")

        async def found(first_record: str = "first", not_after: int = 7):
            return await newest_snapshot(connection, stage.executions, first_record, not_after)

        assert await found() == state
        assert await found(not_after=6) is None
        assert await found(first_record="other") is None
        older = fold.PoolState(pool="default", topic=stage.executions, next_offset=5)
        await save_snapshot(connection, older, "first")
        await connection.execute(
            "UPDATE hermes.snapshots SET state = '\\xc1ff' WHERE next_offset = 7"
        )
        assert await found() == older
        await connection.execute("UPDATE hermes.snapshots SET rules = rules + 1")
        assert await found() is None


async def test_a_folded_state_comes_back_from_a_snapshot_whole(stage):
    state = fold.PoolState(pool="default", topic=stage.executions)
    execution_id = new_id()
    facts = [sample.joined(), sample.requested(execution_id, owner="ann")]
    facts += sample.whole_life(execution_id)[:3]
    millis = id_time_ms(execution_id)
    for offset, fact in enumerate(facts):
        key = getattr(fact, "execution_id", None) or sample.AGENT
        record = Recorded(stage.executions, 0, offset, millis, key, new_event(fact, "test"))
        assert not state.apply(record).superseded
    state.apply(Recorded(stage.executions, 0, len(facts), millis, "", Malformed("x")))
    async with stage.database.acquire() as connection:
        await save_snapshot(connection, state, "first")
        assert await newest_snapshot(connection, stage.executions, "first", 100) == state
