"""The projector as a process: what is appended to the log becomes visible, once."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from hermes.domain.ids import new_id
from hermes.domain.resources import GpuRequest
from hermes.errors import NotFound
from tests.support import log_samples as sample


async def test_an_execution_is_visible_from_request_to_end(stage):
    await stage.start_projector()
    execution_id = new_id()
    position = await stage.run_executions(
        sample.joined(),
        sample.requested(execution_id, gpu=GpuRequest()),
        sample.scheduled(execution_id, gpus=(sample.GPU,)),
    )
    await stage.views.wait_for([position])

    shape = json.loads(await stage.views.get_execution("id-of-ann", execution_id[:20]))
    assert (shape["status"], shape["attempts"][0]["gpus"]) == ("scheduled", [sample.GPU])
    assert shape["created_at"].endswith("Z")
    [agent] = await stage.views.list_agents()
    assert agent["gpus"][0]["state"] == "leased"
    assert agent["gpus"][0]["execution"] == execution_id

    position = await stage.run_executions(*sample.whole_life(execution_id)[1:])
    await stage.views.wait_for([position])
    shape = json.loads(await stage.views.get_execution("id-of-ann", execution_id))
    assert (shape["status"], shape["outcome"]) == ("finished", "succeeded")
    assert shape["positions"]["finished"]["offset"] == position.offset
    [agent] = await stage.views.list_agents()
    assert agent["gpus"][0]["state"] == "free"
    with pytest.raises(NotFound):
        await stage.views.get_execution("id-of-bob", execution_id)


async def test_events_are_visible_within_50_ms_when_little_happens(stage):
    await stage.start_projector()
    await stage.views.wait_for([await stage.run_executions(sample.requested())])
    took = []
    for _ in range(20):
        position = await stage.run_executions(sample.requested())
        begun = time.perf_counter()
        await stage.views.wait_for([position])
        took.append(time.perf_counter() - begun)
        await asyncio.sleep(0.02)
    assert sorted(took)[10] < 0.05, took
