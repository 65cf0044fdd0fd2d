"""One real GPU under the agent's keeper: found, leased, measured, checked, and kept back."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from infra.gpu import HostGpu, Nvml
from infra.sandbox.port import GpuUnavailable
from streams.agent import gpu_keeper
from streams.agent.gpu_keeper import GpuKeeper
from tests.gpu.plain_process import Ended, run_plainly, start_plainly
from tests.support.fake_nvml import FakeReports

MIB = 1 << 20


@pytest.fixture(scope="module")
def gpus(nvml: Nvml) -> dict[str, HostGpu]:
    found = nvml.inventory()
    assert found, "there is a driver, but NVML lists no GPU"
    return found


@pytest.fixture
async def keeper(nvml: Nvml, gpus: dict[str, HostGpu]) -> AsyncIterator[GpuKeeper]:
    keeper = GpuKeeper(nvml, gpus, FakeReports(), recheck=1.0)
    yield keeper
    keeper.close()


@pytest.fixture
def uuid(gpus: dict[str, HostGpu]) -> str:
    return next(iter(gpus))


async def ran(
    keeper: GpuKeeper, probe: Path, uuid: str, words: str, *, within: float = 60.0
) -> Ended:
    lease = await keeper.lease([uuid])
    try:
        return await run_plainly(probe, words, lease, within=within)
    finally:
        await lease.close()


@asynccontextmanager
async def watched(keeper: GpuKeeper) -> AsyncIterator[None]:
    watching = asyncio.create_task(keeper.watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.05)


def test_the_inventory_is_what_nvidias_own_tool_lists(gpus: dict[str, HostGpu]) -> None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        pytest.skip("NOT TRIED, nvidia-smi is not here")
    listed = subprocess.run([tool, "-L"], capture_output=True, check=True, timeout=60)
    text = listed.stdout.decode()
    for uuid, found in gpus.items():
        assert uuid in text
        assert found.gpu.name in text
        assert found.gpu.memory > 1 << 30
        assert all(Path(node).exists() for node in found.devices)


async def test_a_program_sees_the_gpu_that_it_was_given_and_no_other(
    keeper: GpuKeeper, probe: Path, gpus: dict[str, HostGpu], uuid: str
) -> None:
    ended = await ran(keeper, probe, uuid, "devices")
    assert (ended.code, len(ended.out.split())) == (0, 1)
    if gpus[uuid].gpu.parent is None:
        assert ended.out.split() == [uuid]
    assert keeper.drained == {}


async def test_what_a_busy_program_uses_is_measured(
    keeper: GpuKeeper, probe: Path, gpus: dict[str, HostGpu], uuid: str
) -> None:
    ended = await ran(keeper, probe, uuid, "spin 5 1024")
    assert ended.code == 0
    use = ended.use
    assert use.peak_memory is not None
    assert 1024 * MIB <= use.peak_memory <= gpus[uuid].gpu.memory
    if gpus[uuid].gpu.parent is None:
        assert use.utilisation is not None
        assert use.utilisation > 0.3
        assert use.energy is not None
        assert use.energy > 50, "five seconds of work at 10 W at least"
        assert use.samples is not None
        assert 5 <= len(use.samples) <= 60
        assert max(sample.memory for sample in use.samples) >= 1024 * MIB
    print("measured:", use)
    assert keeper.drained == {}


async def test_two_runs_are_never_on_one_gpu_at_once(
    keeper: GpuKeeper, probe: Path, uuid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_keeper, "LOCK_PATIENCE", 60.0)
    times: list[tuple[float, float]] = []

    async def one() -> None:
        lease = await keeper.lease([uuid])
        began = time.monotonic()
        try:
            assert (await run_plainly(probe, "spin 1 64", lease)).code == 0
        finally:
            times.append((began, time.monotonic()))
            await lease.close()

    await asyncio.gather(*(one() for _ in range(3)))
    times.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(times))
    assert keeper.drained == {}


async def test_a_kernel_that_never_ends_is_killed_and_the_gpu_is_well(
    keeper: GpuKeeper, probe: Path, uuid: str
) -> None:
    ended = await ran(keeper, probe, uuid, "hang", within=6.0)
    assert ended.code == -signal.SIGKILL
    assert keeper.drained == {}
    assert (await ran(keeper, probe, uuid, "spin 0.5 64")).code == 0


async def test_a_program_that_takes_all_memory_leaves_all_of_it(
    keeper: GpuKeeper, probe: Path, gpus: dict[str, HostGpu], uuid: str
) -> None:
    for _ in range(2):
        ended = await ran(keeper, probe, uuid, "hog")
        assert ended.code == 3
        taken = int(ended.out.split()[-2]) * MIB
        assert taken > gpus[uuid].gpu.memory * 0.8
    assert keeper.drained == {}


async def test_a_wild_pointer_is_the_programs_own_error_and_drains_nothing(
    keeper: GpuKeeper, probe: Path, uuid: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(keeper):
        ended = await ran(keeper, probe, uuid, "oob")
        await asyncio.sleep(3.0)
        assert keeper.drained == {}
        assert (ended.code, ended.out) == (4, "cudaErrorIllegalAddress\n")
        assert (await ran(keeper, probe, uuid, "spin 0.5 64")).code == 0
    print("reported:", [line for line in caplog.messages if "Xid" in line] or "nothing")


async def test_a_process_left_on_the_gpu_takes_it_out_of_service_until_it_is_gone(
    keeper: GpuKeeper, probe: Path, uuid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_keeper, "_LINGER", 1.0)
    left = start_plainly(probe, "spin 120 64", [uuid])
    try:
        await asyncio.sleep(3.0)
        assert (await ran(keeper, probe, uuid, "spin 0.5 64")).code == 0
        assert list(keeper.drained) == [uuid]
        assert "still use" in keeper.drained[uuid]
        with pytest.raises(GpuUnavailable):
            await keeper.lease([uuid])
    finally:
        left.kill()
        left.wait(timeout=30)
    async with watched(keeper):
        await until(lambda: keeper.drained == {})


async def test_nothing_of_a_programs_memory_reaches_the_next(
    keeper: GpuKeeper, probe: Path, uuid: str
) -> None:
    assert (await ran(keeper, probe, uuid, "mark 2048")).code == 0
    ended = await ran(keeper, probe, uuid, "look 2048")
    assert (ended.code, ended.out) == (0, "0\n")
