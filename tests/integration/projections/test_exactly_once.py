"""Nothing lost and nothing doubled: kills, second projectors, and logs that are not the same."""

from __future__ import annotations

import asyncio
import random

import pytest

from hermes.domain.events import PoolCreated
from hermes.domain.ids import new_id
from projections.checkpoints import CheckpointLost, load_checkpoint, move
from streams.topics import ensure_topics
from tests.support import log_samples as sample


def _facts(lives: int):
    yield sample.joined()
    for _ in range(lives):
        execution_id = new_id()
        yield sample.requested(execution_id)
        yield from sample.whole_life(execution_id)


async def test_ten_thousand_events_at_once(stage):
    position = await stage.run_executions(*_facts(2000))
    assert position.offset == 10_000
    await stage.start_projector()
    await stage.views.wait_for([position], timeout=30)
    assert await stage.database.fetchval("SELECT count(*) FROM hermes.events") == 10_001
    finished = "SELECT count(*) FROM hermes.executions WHERE outcome = 'succeeded'"
    assert await stage.database.fetchval(finished) == 2000
    assert await stage.differences() == []


async def test_nothing_is_lost_or_doubled_when_the_projector_is_killed_again_and_again(stage):
    kills = 0
    done = asyncio.Event()

    async def keep_appending():
        for _ in range(40):
            position = await stage.run_executions(*_facts(50))
            await asyncio.sleep(0.05)
        done.set()
        return position

    appending = asyncio.create_task(keep_appending())
    while not done.is_set():
        projector = await stage.start_projector()
        await asyncio.sleep(random.uniform(0.05, 0.5))
        await stage.kill_projector(projector)
        kills += 1
    position = await appending
    await stage.start_projector()
    await stage.views.wait_for([position], timeout=30)
    assert kills >= 3
    assert await stage.database.fetchval("SELECT count(*) FROM hermes.events") == (
        position.offset + 1
    )
    assert await stage.differences() == []


async def test_a_second_projector_stands_by_and_takes_over(stage):
    first = await stage.start_projector()
    await stage.views.wait_for([await stage.run_executions(*_facts(5))])
    second = await stage.start_projector()
    await stage.views.wait_for([await stage.run_executions(*_facts(5))])
    assert second.returncode is None
    await stage.kill_projector(first)
    await stage.views.wait_for([await stage.run_executions(*_facts(5))], timeout=10)
    assert await stage.stop_projector(second) == 0
    assert await stage.differences() == []


async def test_a_zombie_cannot_move_a_checkpoint_that_was_moved_meanwhile(stage):
    async with stage.database.acquire() as connection:
        mine = await load_checkpoint(connection, "executions", stage.executions, 0)
        await move(connection, mine, 5, None)
        with pytest.raises(CheckpointLost):
            await move(connection, mine, 3, None)
        kept = await load_checkpoint(connection, "executions", stage.executions, 0)
        assert kept.next_offset == 5


async def test_a_projector_whose_checkpoint_is_moved_by_another_ends(stage):
    projector = await stage.start_projector()
    await stage.views.wait_for([await stage.run_executions(*_facts(1))])
    await stage.database.execute(
        "UPDATE hermes.checkpoints SET next_offset = 2 WHERE projection = 'executions'"
    )
    await stage.run_executions(sample.requested())
    assert await asyncio.wait_for(projector.wait(), 10) == 1


async def test_a_log_that_is_shorter_than_the_checkpoint_stops_the_projection(stage):
    await stage.database.execute(
        "INSERT INTO hermes.checkpoints VALUES ('executions', 1, $1, 0, 100, NULL, NULL)",
        stage.executions,
    )
    await stage.start_projector()
    status = await stage.status_becomes("executions", lambda s: s.status == "stopped")
    assert "records were lost" in status.error
    assert (await stage.status("agents")).status == "running"


async def test_another_log_under_the_same_name_stops_the_projection(stage):
    await stage.run_executions(sample.joined(), sample.requested())
    await stage.database.execute(
        "INSERT INTO hermes.checkpoints VALUES ('executions', 1, $1, 0, 1, 'other', NULL)",
        stage.executions,
    )
    await stage.start_projector()
    status = await stage.status_becomes("executions", lambda s: s.status == "stopped")
    assert "its first record differs" in status.error


async def test_pools_are_found_while_running(stage, settings):
    await stage.start_projector()
    await ensure_topics(settings, "lab")
    await stage.append(stage.topics.registry, [("lab", PoolCreated(pool="lab"))])
    execution_id = new_id()
    position = await stage.append(
        stage.topics.executions("lab"),
        [(execution_id, sample.requested(execution_id, pool="lab"))],
    )
    await stage.views.wait_for([position])
    row = await stage.views.get_execution_row("id-of-ann", execution_id)
    assert row.pool == "lab"


async def test_the_projector_goes_on_after_postgresql_has_dropped_its_connections(stage):
    projector = await stage.start_projector()
    await stage.views.wait_for([await stage.run_executions(*_facts(3))])
    await stage.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND application_name = 'hermes-projector' AND datname = current_database()"
    )
    position = await stage.run_executions(*_facts(3))
    await stage.views.wait_for([position], timeout=15)
    assert projector.returncode is None
    assert await stage.differences() == []
