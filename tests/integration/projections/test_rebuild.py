"""Rebuilds: what somebody broke comes back, while readers and the projector go on."""

from __future__ import annotations

import asyncio
import json

import psutil
import pytest

from hermes.domain.ids import new_id
from hermes.errors import AlreadyExists, NotFound
from projections.migrate import migrate
from projections.rebuild import rebuild
from tests.support import log_samples as sample


async def _lives(stage, count: int) -> list[str]:
    """Executions that have ended, one by one."""
    ids = [new_id() for _ in range(count)]
    await stage.run_executions(sample.joined())
    for execution_id in ids:
        position = await stage.run_executions(
            sample.requested(execution_id), *sample.whole_life(execution_id)
        )
    await stage.views.wait_for([position], timeout=20)
    return ids


async def test_a_rebuild_after_vandalism_restores_the_rows_and_names_them(stage):
    await stage.start_projector()
    ids = await _lives(stage, 30)
    before = [await stage.views.get_execution("id-of-ann", i) for i in ids]
    await stage.database.execute("DELETE FROM executions_g1.executions WHERE id = $1", ids[0])
    await stage.database.execute(
        "UPDATE executions_g1.executions SET body = $2 WHERE id = $1", ids[1], '{"id": "forged"}'
    )
    await stage.database.execute(
        "UPDATE executions_g1.events SET actor = 'nobody' WHERE \"offset\" = 3"
    )
    assert len(await stage.differences()) == 3

    await stage.views.request_rebuild("executions")
    status = await stage.status_becomes(
        "executions", lambda s: s.rebuild is not None and s.rebuild.status in ("done", "failed")
    )

    assert status.rebuild is not None
    assert (status.rebuild.status, status.rebuild.error) == ("done", None)
    assert status.rebuild.verified
    assert status.rebuild.differences == 3
    assert status.rebuild.events_done == status.rebuild.events_total == 151
    assert status.rebuild.rows_compared == 30 + 151
    assert [await stage.views.get_execution("id-of-ann", i) for i in ids] == before
    assert await stage.differences() == []
    schemas = await stage.database.fetch(
        "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'executions_g%'"
    )
    assert len(schemas) == 1


async def test_the_projector_goes_on_in_the_new_generation(stage):
    projector = await stage.start_projector()
    await _lives(stage, 3)
    for name in ("functions", "executions", "agents", "output"):
        await stage.rebuild(name)
    execution_id = new_id()
    position = await stage.run_executions(sample.requested(execution_id))
    await stage.views.wait_for([position])
    shape = json.loads(await stage.views.get_execution("id-of-ann", execution_id))
    assert shape["status"] == "requested"
    assert await stage.differences() == []
    assert projector.returncode is None


async def test_events_appended_during_a_rebuild_are_there_after_it(stage):
    await stage.start_projector()
    await _lives(stage, 20)
    done = asyncio.Event()
    seen: list[str] = []

    async def keep_appending() -> None:
        while not done.is_set():
            execution_id = new_id()
            position = await stage.run_executions(
                sample.requested(execution_id), *sample.whole_life(execution_id)
            )
            # Every read during the rebuild finds what was written: none waits for the new one.
            await stage.views.wait_for([position])
            await stage.views.get_execution("id-of-ann", execution_id)
            seen.append(execution_id)

    appending = asyncio.create_task(keep_appending())
    for _ in range(3):
        rebuilt = await stage.rebuild("executions")
        assert rebuilt.comparison.differences == 0
    done.set()
    await appending
    assert len(seen) > 3
    assert await stage.differences() == []


async def test_a_rebuild_that_dies_leaves_the_old_generation_serving(stage):
    await stage.start_projector()
    [execution_id] = await _lives(stage, 1)

    async def die(_step: str, _done: int, _total: int) -> None:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        await rebuild(stage.settings, "executions", die)
    await stage.views.get_execution("id-of-ann", execution_id)
    left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'executions_g%'"
    assert await stage.database.fetchval(left) == 2

    assert (await stage.rebuild("executions")).comparison.differences == 0
    assert await stage.database.fetchval(left) == 1
    await stage.views.get_execution("id-of-ann", execution_id)


async def test_a_lost_schema_comes_back(stage):
    await stage.start_projector()
    ids = await _lives(stage, 5)
    await stage.database.execute("DROP SCHEMA executions_g1 CASCADE")
    await stage.rebuild("executions")
    for execution_id in ids:
        await stage.views.get_execution("id-of-ann", execution_id)
    assert await stage.differences() == []


async def test_a_generation_of_an_older_shape_is_replaced(stage):
    await stage.start_projector()
    ids = await _lives(stage, 5)
    await stage.database.execute(
        "ALTER TABLE executions_g1.executions DROP COLUMN gpu_energy CASCADE"
    )
    await stage.run_executions(sample.requested())
    await stage.status_becomes("executions", lambda s: s.status == "stopped")
    assert (await stage.rebuild("executions")).comparison.differences == 0
    await stage.status_becomes("executions", lambda s: (s.status, s.lag) == ("running", 0))
    await stage.views.get_execution("id-of-ann", ids[0])
    assert await stage.differences() == []


async def test_views_made_before_gpus_were_measured_serve_on_and_are_rebuilt(stage):
    """As an older Hermes left them: without a column, with its migrations only, and with a rebuild
    that was cut off."""
    await stage.database.execute(
        "ALTER TABLE executions_g1.executions DROP COLUMN gpu_utilisation CASCADE;"
        "CREATE VIEW hermes.executions AS SELECT * FROM executions_g1.executions;"
        "DELETE FROM hermes.migrations WHERE namespace = 'projections' AND number > 1;"
        "DELETE FROM hermes.rebuilds;"
        "INSERT INTO hermes.rebuilds (projection, status) VALUES ('executions', 'verifying')"
    )
    await migrate(stage.settings.database_url)
    await stage.start_projector()
    [execution_id] = await _lives(stage, 1)
    await stage.views.get_execution("id-of-ann", execution_id)
    for name in ("agents", "executions"):
        await stage.status_becomes(name, lambda s: s.rebuild is not None and s.rebuild.verified)
        await stage.database.execute(f"SELECT 1 FROM {name}_g2.{name}")
    await stage.database.execute("SELECT gpu_utilisation FROM hermes.executions")
    assert await stage.differences() == []


async def test_only_one_rebuild_of_a_projection_at_a_time(stage):
    await stage.views.request_rebuild("functions")
    with pytest.raises(AlreadyExists):
        await stage.views.request_rebuild("functions")
    with pytest.raises(NotFound):
        await stage.views.request_rebuild("no such")


async def test_a_rebuild_that_was_cut_off_is_reported_as_failed(stage):
    await stage.database.execute(
        "INSERT INTO hermes.rebuilds (projection, status) VALUES ('agents', 'filling')"
    )
    await stage.start_projector()
    status = await stage.status_becomes("agents", lambda s: s.rebuild.status == "failed")
    assert "interrupted" in status.rebuild.error


@pytest.mark.parametrize("victim", ["rebuild", "projector"])
async def test_a_kill_in_the_middle_of_a_rebuild_costs_only_the_rebuild(stage, victim):
    projector = await stage.start_projector()
    ids = [new_id() for _ in range(4000)]
    await stage.run_executions(sample.joined())
    position = await stage.run_executions(*[sample.requested(i) for i in ids])
    await stage.views.wait_for([position], timeout=30)
    await stage.views.request_rebuild("executions")
    child = await _child_of(projector.pid)
    if victim == "projector":
        await stage.kill_projector(projector)
        child.kill()
        await stage.start_projector()
    else:
        child.kill()
    status = await stage.status_becomes("executions", lambda s: s.rebuild.status == "failed")
    assert "interrupted" in status.rebuild.error

    execution_id = new_id()
    position = await stage.run_executions(sample.requested(execution_id))
    await stage.views.wait_for([position], timeout=10)
    await stage.views.get_execution("id-of-ann", execution_id)
    await stage.views.request_rebuild("executions")
    status = await stage.status_becomes(
        "executions", lambda s: s.rebuild.status in ("done", "failed"), within=30
    )
    assert (status.rebuild.status, status.rebuild.differences) == ("done", 0)
    left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'executions_g%'"
    assert await stage.database.fetchval(left) == 1


async def _child_of(pid: int) -> psutil.Process:
    async with asyncio.timeout(10):
        while not (children := psutil.Process(pid).children()):
            await asyncio.sleep(0.005)
    return children[0]
