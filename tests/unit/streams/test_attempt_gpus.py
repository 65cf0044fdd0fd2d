"""An attempt with a GPU: leased before its start, measured in its run, looked at at its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hermes.domain.ids import new_id
from infra.gpu import FakeNvml, lock, locks
from infra.sandbox.port import GpuUnavailable, SandboxError, Undying
from streams.agent import attempt as attempt_module
from streams.agent import gpu_keeper
from streams.agent.attempt import Attempt
from tests.support.fake_nvml import FakeGpuSteering
from tests.unit.domain.making import (
    PoolPartition,
    gpu,
    gpu_released,
    handed_back,
    joined,
    requested,
    scheduled,
    took_over,
    wants,
)
from tests.unit.streams.fake_host import FakeHost, FakePrepared, X, an_exit


class GpuHost(FakeHost):
    """A host with two fake GPUs; its attempt has the first."""

    def __init__(self, folder: Path) -> None:
        self.steering = FakeGpuSteering(folder / "gpus.json")
        library = FakeNvml(2, new_id(), self.steering.path)
        super().__init__(folder, gpus=library)
        self.first, self.second = library.inventory()

    def attempt(self, number: int = 1) -> Attempt:
        pool = PoolPartition()
        pool.accept(
            took_over(),
            joined("a1", "i1", gpu(self.first), gpu(self.second)),
            requested(X, gpu=wants()),
            scheduled(X, gpus=(self.first,)),
        )
        for before in range(1, number):
            pool.accept(
                handed_back(X, before),
                gpu_released(X, before, self.first),
                scheduled(X, before + 1, gpus=(self.first,)),
            )
        execution = pool.state.live[X]
        return Attempt(self.host, execution, execution.attempts[-1])

    @property
    def said(self) -> list[str]:
        """The kinds of events, in the order of their coming."""
        return self.events.kinds


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuHost:
    monkeypatch.setattr(gpu_keeper, "_LINGER", 0.1)
    monkeypatch.setattr(locks, "_LOCKS", tmp_path)
    return GpuHost(tmp_path)


@asynccontextmanager
async def attempting(
    parts: GpuHost, number: int = 1
) -> AsyncIterator[tuple[Attempt, asyncio.Task[None]]]:
    attempt = parts.attempt(number)
    task = asyncio.create_task(attempt.run())
    attempt.claim_accepted()
    try:
        yield attempt, task
        async with asyncio.timeout(5):
            await asyncio.wait({task})
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
    os.close(lock(parts.first))


async def running(parts: GpuHost) -> FakePrepared:
    async with asyncio.timeout(3):
        while parts.sandbox.prepared is None or not parts.sandbox.prepared.went:
            await asyncio.sleep(0.005)
    return parts.sandbox.prepared


async def test_what_it_used_of_its_gpu_is_in_its_end(parts: GpuHost) -> None:
    parts.steering.say(0, memory=3_000, utilisation=0.75, power=80.0)
    async with attempting(parts):
        program = await running(parts)
        await asyncio.sleep(0.3)
        program.end(an_exit(wall_time=0.3))
    kind, data = parts.events.events[-1]
    assert kind == "finished"
    usage = data["usage"]
    assert usage["gpu_time"] == pytest.approx(0.3)
    assert usage["gpu_peak_memory"] == 3_000
    assert usage["gpu_utilisation"] == pytest.approx(0.75)
    assert usage["gpu_energy"] == pytest.approx(80.0 * 0.3, rel=0.5)
    assert usage["gpu_samples"][0]["memory"] == 3_000
    assert parts.reports.said == []


async def test_its_sandbox_gets_this_gpu_and_holds_its_lock(parts: GpuHost) -> None:
    async with attempting(parts):
        program = await running(parts)
        spec = parts.sandbox.spec
        assert spec is not None
        assert spec.gpus == (parts.first,)
        assert spec.env["CUDA_VISIBLE_DEVICES"] == parts.first
        assert len(spec.held_fds) == 1
        program.end()


async def test_a_gpu_that_it_left_unwell_is_out_of_service_before_its_end_is_told(
    parts: GpuHost,
) -> None:
    parts.events.before = lambda kind: parts.reports.said.append((kind, None))
    async with attempting(parts):
        program = await running(parts)
        parts.steering.say(0, processes=[4711])
        program.end()
    told = [what for what, _ in parts.reports.said]
    assert told.index(parts.first) < told.index("execution.finished/1")
    assert parts.host.gpus.drained == {parts.first: "process 4711 still uses it"}
    assert parts.events.events[-1][1]["outcome"] == "succeeded"


@pytest.mark.parametrize("how", ["fence", "shut_down"])
async def test_also_the_gpu_of_an_attempt_that_says_nothing_more_is_looked_at(
    parts: GpuHost, how: str
) -> None:
    async with attempting(parts) as (attempt, _):
        await running(parts)
        parts.steering.say(0, needs="a reset")
        getattr(attempt, how)()
    assert parts.host.gpus.drained == {parts.first: "it needs a reset"}
    assert "finished" not in parts.said


async def test_a_missing_runtime_is_no_failure_of_the_run_and_takes_the_gpu_out_of_service(
    parts: GpuHost,
) -> None:
    parts.sandbox.error = GpuUnavailable("the engine has no NVIDIA runtime")
    async with attempting(parts) as (_, task):
        await asyncio.wait({task}, timeout=3)
        assert isinstance(task.exception(), GpuUnavailable)
    assert parts.said == ["claimed", "attempt_lost"]
    data = parts.events.events[-1][1]
    assert data["reason"] == "gpu_unavailable"
    assert (data["agent"], data["incarnation"], data["output_end_offset"]) == ("a1", "i1", None)
    assert parts.host.gpus.drained == {parts.first: "the engine has no NVIDIA runtime"}


async def test_a_gpu_that_is_out_of_service_already_hands_the_attempt_back(parts: GpuHost) -> None:
    lease = await parts.host.gpus.lease([parts.first])
    await lease.fail("Xid 79")
    await lease.close()
    async with attempting(parts):
        pass
    assert parts.said == ["claimed", "attempt_lost"]
    assert parts.sandbox.prepared is None


async def test_an_attempt_that_was_handed_back_before_is_so_again_after_a_pause(
    parts: GpuHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "LONGEST_PAUSE", 0.4)
    parts.sandbox.error = GpuUnavailable("the engine has no NVIDIA runtime")
    async with attempting(parts, number=3):
        await asyncio.sleep(0.2)
        assert parts.said == ["claimed"]
        assert parts.first in parts.host.gpus.drained
    assert parts.said == ["claimed", "attempt_lost"]


async def test_a_run_that_does_not_die_keeps_its_gpu_from_the_next(
    parts: GpuHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(self: FakePrepared) -> None:
        raise Undying("a process does not die")

    monkeypatch.setattr(FakePrepared, "wait", wait)
    async with attempting(parts) as (_, task):
        await asyncio.wait({task}, timeout=3)
        assert isinstance(task.exception(), Undying)
    assert parts.host.gpus.drained == {parts.first: "a process of a run does not die"}
    assert "finished" not in parts.said


async def test_so_does_one_that_does_not_die_when_it_is_closed(
    parts: GpuHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = FakePrepared.close

    async def close(self: FakePrepared) -> None:
        await closing(self)
        raise Undying("a process does not die")

    monkeypatch.setattr(FakePrepared, "close", close)
    async with attempting(parts) as (attempt, task):
        await running(parts)
        attempt.fence()
        await asyncio.wait({task}, timeout=3)
        assert isinstance(task.exception(), Undying)
    assert parts.host.gpus.drained == {parts.first: "a process of a run does not die"}


@pytest.mark.parametrize("when", ["wait", "close"])
async def test_a_sandbox_that_was_ended_from_outside_leaves_its_gpu_in_service(
    parts: GpuHost, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    closing = FakePrepared.close

    async def fails(self: FakePrepared) -> None:
        if when == "close":
            await closing(self)
        raise SandboxError("the container was ended from outside")

    monkeypatch.setattr(FakePrepared, when, fails)
    async with attempting(parts) as (attempt, task):
        await running(parts)
        if when == "close":
            attempt.fence()
        await asyncio.wait({task}, timeout=3)
        assert isinstance(task.exception(), SandboxError)
    assert parts.host.gpus.drained == {}
    await (await parts.host.gpus.lease([parts.first])).close()


async def test_a_driver_that_fails_costs_the_measures_and_not_the_run(parts: GpuHost) -> None:
    async with attempting(parts):
        parts.steering.say(0, lost=True)
        program = await running(parts)
        await asyncio.sleep(0.1)
        program.end()
    data = parts.events.events[-1][1]
    assert data["outcome"] == "succeeded"
    assert data["usage"]["gpu_energy"] is None
    assert parts.host.gpus.drained == {parts.first: "it has fallen off the bus"}
