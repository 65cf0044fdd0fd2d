"""What an attempt has used of its GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hermes.domain.resources import GIB, MAX_GPU_SAMPLES
from infra.gpu import GpuFault, GpuReading
from streams.agent import gpu_meter
from streams.agent.gpu_meter import GpuMeter, GpuUse


class FakeTime:
    """Each look takes `step` seconds of it."""

    def __init__(self, step: float) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


async def metered(
    looks: list[Callable[[float], GpuReading]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    count: int,
    step: float = 1.0,
) -> GpuUse:
    """The use after `count` looks while it ran, one each `step` seconds, and one at the end."""
    monkeypatch.setattr(gpu_meter, "INTERVAL", 0.0)
    monkeypatch.setattr(gpu_meter, "_FIRST", 0.0)
    clock = FakeTime(step)
    seen = 0
    enough = asyncio.Event()

    def asking(answer: Callable[[float], GpuReading]) -> gpu_meter.Look:
        async def look() -> GpuReading:
            nonlocal seen
            if seen >= count * len(looks) and not enough.is_set():
                enough.set()
                await asyncio.Event().wait()
            seen += 1
            return answer(clock.now - 100.0)

        return look

    meter = GpuMeter([asking(answer) for answer in looks], clock)
    meter.start()
    async with asyncio.timeout(5):
        await enough.wait()
        return await meter.stop()


def steady(time: float) -> GpuReading:
    return GpuReading(memory=2 * GIB, utilisation=0.5, power=100.0, energy=100.0 * time)


async def test_a_steady_gpu_is_measured_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    use = await metered([steady], monkeypatch, count=5)
    assert use.peak_memory == 2 * GIB
    assert use.utilisation == pytest.approx(0.5)
    assert use.energy == pytest.approx(500.0)
    assert use.samples is not None
    assert [one.time for one in use.samples] == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert {(one.utilisation, one.memory, one.power) for one in use.samples} == {
        (0.5, 2 * GIB, 100.0)
    }


async def test_two_gpus_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def idle(time: float) -> GpuReading:
        return GpuReading(memory=GIB, utilisation=0.0, power=50.0, energy=50.0 * time)

    use = await metered([steady, idle], monkeypatch, count=4)
    assert use.peak_memory == 3 * GIB
    assert use.utilisation == pytest.approx(0.25)
    assert use.energy == pytest.approx(150.0 * 4)


async def test_the_peak_is_the_highest_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def rising(time: float) -> GpuReading:
        return GpuReading(memory=9 * GIB if time == 2.0 else GIB, utilisation=1.0)

    use = await metered([rising], monkeypatch, count=4)
    assert use.peak_memory == 9 * GIB


async def test_without_an_energy_counter_power_is_integrated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rising(time: float) -> GpuReading:
        return GpuReading(memory=GIB, utilisation=1.0, power=10.0 * time)

    # 10, 20 and 30 W at the first three seconds, 40 W at the end.
    use = await metered([rising], monkeypatch, count=3)
    assert use.energy == pytest.approx(15.0 + 25.0 + 35.0)


async def test_a_mig_slice_knows_its_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    use = await metered([lambda time: GpuReading(memory=GIB)], monkeypatch, count=4)
    assert use == GpuUse(peak_memory=GIB)


@pytest.mark.parametrize("count", [59, 61, 121, 1000])
async def test_a_long_run_has_as_few_points_as_a_short_one_and_the_same_mean(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def saw(time: float) -> GpuReading:
        return GpuReading(memory=GIB, utilisation=(time % 10) / 10, power=time)

    use = await metered([saw], monkeypatch, count=count)
    assert use.samples is not None
    times = [one.time for one in use.samples]
    assert 30 <= len(times) <= MAX_GPU_SAMPLES
    assert times == sorted(times)
    assert times[-1] == pytest.approx(count + 1)
    exact = sum(((second % 10) / 10) for second in range(2, count + 2)) / count
    assert use.utilisation == pytest.approx(exact)


async def test_looks_that_fail_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def failing(time: float) -> GpuReading:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise GpuFault("later")
        return steady(time)

    use = await metered([failing], monkeypatch, count=6)
    assert use.peak_memory == 2 * GIB
    assert use.utilisation == pytest.approx(0.5)

    def broken(time: float) -> GpuReading:
        raise GpuFault("never")

    assert await metered([broken], monkeypatch, count=6) == GpuUse()


async def test_without_gpus_there_is_nothing_to_measure() -> None:
    meter = GpuMeter([])
    meter.start()
    assert await meter.stop() == GpuUse()
