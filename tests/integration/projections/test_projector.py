"""The projector as a process: what is appended to the log becomes visible, once."""

from __future__ import annotations

import asyncio
import json
import time

import msgspec
import pytest

from hermes.domain.ids import new_id
from hermes.domain.resources import GpuRequest, GpuSample
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


async def test_a_gpu_shows_whether_it_is_in_service_and_why_not(stage):
    await stage.start_projector()
    execution_id = new_id()

    async def gpu_after(*facts):
        await stage.views.wait_for([await stage.run_executions(*facts)])
        [agent] = await stage.views.list_agents()
        [gpu] = agent["gpus"]
        return gpu["state"], gpu["reason"], gpu["execution"]

    assert await gpu_after(sample.joined()) == ("free", None, None)
    assert await gpu_after(sample.gpu_drained()) == ("drained", "Xid 79", None)
    restored = (sample.gpu_restored(), sample.requested(execution_id, gpu=GpuRequest()))
    assert await gpu_after(*restored) == ("free", None, None)
    leased = sample.scheduled(execution_id, gpus=(sample.GPU,))
    assert await gpu_after(leased) == ("leased", None, execution_id)
    assert await gpu_after(sample.gpu_drained("NVML")) == ("leased", "NVML", execution_id)
    assert await gpu_after(*sample.whole_life(execution_id)[1:]) == ("drained", "NVML", None)
    assert await gpu_after(sample.joined(incarnation="later")) == ("drained", "NVML", None)


async def test_what_a_run_used_of_its_gpus_is_in_the_views(stage):
    await stage.start_projector()
    execution_id = new_id()
    samples = (GpuSample(time=0.5, utilisation=0.25, memory=4096, power=300.0),)
    used = msgspec.structs.replace(
        sample.finished(execution_id).usage,
        gpu_time=1.5, gpu_peak_memory=4096, gpu_utilisation=0.25, gpu_energy=450.0,
        gpu_samples=samples,
    )  # fmt: skip
    end = msgspec.structs.replace(sample.finished(execution_id), usage=used)
    facts = (sample.joined(), sample.requested(execution_id))
    life = sample.whole_life(execution_id)[:-1]
    await stage.views.wait_for([await stage.run_executions(*facts, *life, end)])
    shape = json.loads(await stage.views.get_execution("id-of-ann", execution_id))
    assert shape["usage"]["gpu_samples"] == [msgspec.to_builtins(samples[0])]
    row = await stage.database.fetchrow(
        "SELECT gpu_time, gpu_peak_memory, gpu_utilisation, gpu_energy FROM hermes.executions"
    )
    assert tuple(row) == (1.5, 4096, 0.25, 450.0)


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
