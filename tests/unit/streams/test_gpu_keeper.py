"""GPUs are leased to one attempt each, and out of service while they are unwell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from hermes.domain.ids import new_id
from infra.gpu import FakeNvml, GpuFault, Xid, lock, locks
from infra.sandbox.port import GpuUnavailable
from streams.agent import gpu_events, gpu_keeper
from streams.agent.gpu_keeper import GpuKeeper
from tests.support.fake_nvml import FakeGpuSteering, FakeReports


class Kept:
    """A keeper of two fake GPUs that are looked at ten times a second."""

    def __init__(self, folder: Path, *, name: str | None = None, recheck: float = 0.1) -> None:
        self.steering = FakeGpuSteering(folder / "gpus.json")
        self.library = FakeNvml(2, name or new_id(), self.steering.path)
        self.reports = FakeReports()
        gpus = self.library.inventory()
        self.first, self.second = gpus
        self.keeper = GpuKeeper(self.library, gpus, self.reports, recheck)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locks, "_LOCKS", tmp_path)
    monkeypatch.setattr(gpu_keeper, "_LINGER", 0.2)
    monkeypatch.setattr(gpu_keeper, "LOCK_PATIENCE", 0.5)


@asynccontextmanager
async def watched(kept: Kept) -> AsyncIterator[None]:
    watching = asyncio.create_task(kept.keeper.watch())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        kept.keeper.close()
        kept.library.close()


async def until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_lease_is_exclusive_and_waits_for_its_predecessor(kept: Kept) -> None:
    lease = await kept.keeper.lease([kept.first])
    assert lease.uuids == (kept.first,)
    (held,) = lease.locks
    assert os.fstat(held)
    waiting = asyncio.create_task(kept.keeper.lease([kept.first]))
    other = await kept.keeper.lease([kept.second])
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await lease.close()
    await (await waiting).close()
    await other.close()
    assert kept.reports.said == []


async def test_a_gpu_that_another_program_holds_is_out_of_service_until_it_lets_go(
    kept: Kept,
) -> None:
    held = lock(kept.first)
    program = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(held,)
    )
    os.close(held)
    with pytest.raises(GpuUnavailable, match="another sandbox"):
        await kept.keeper.lease([kept.second, kept.first])
    assert kept.reports.said == [(kept.first, "another sandbox of this host holds it")]
    await (await kept.keeper.lease([kept.second])).close()
    async with watched(kept):
        await asyncio.sleep(0.3)
        assert kept.first in kept.keeper.drained
        program.communicate(b"\n")
        await until(lambda: kept.keeper.drained == {})
    assert kept.reports.said[-1] == (kept.first, None)


async def test_two_agents_of_one_host_never_have_one_gpu_at_once(tmp_path: Path) -> None:
    name = new_id()
    one, other = Kept(tmp_path, name=name), Kept(tmp_path, name=name)
    lease = await one.keeper.lease([one.first])
    with pytest.raises(GpuUnavailable):
        await other.keeper.lease([other.first])
    await lease.close()


async def test_nobody_gets_a_gpu_that_this_host_has_not(kept: Kept) -> None:
    with pytest.raises(GpuUnavailable, match="no GPU GPU-x"):
        await kept.keeper.lease([kept.first, "GPU-x"])
    await (await kept.keeper.lease([kept.first])).close()


async def test_a_process_that_a_run_left_takes_its_gpu_out_of_service_before_it_is_released(
    kept: Kept,
) -> None:
    lease = await kept.keeper.lease([kept.first])
    lease.start()
    kept.steering.say(0, processes=[4711])
    await lease.finish()
    assert kept.reports.said == [(kept.first, "process 4711 still uses it")]
    await lease.close()
    assert kept.reports.said[1:] == []
    with pytest.raises(GpuUnavailable, match="out of service: process 4711"):
        await kept.keeper.lease([kept.first])
    async with watched(kept):
        await asyncio.sleep(0.3)
        assert kept.first in kept.keeper.drained
        kept.steering.say(0, processes=[])
        await until(lambda: kept.keeper.drained == {})
    await (await kept.keeper.lease([kept.first])).close()


async def test_a_lease_that_nobody_checked_is_checked_when_it_is_closed(kept: Kept) -> None:
    lease = await kept.keeper.lease([kept.first, kept.second])
    lease.start()
    kept.steering.say(1, uncorrected=0, needs="a reset")
    await lease.close()
    assert kept.reports.said == [(kept.second, "it needs a reset")]


async def test_new_memory_errors_count_and_old_ones_do_not(kept: Kept) -> None:
    kept.steering.say(0, uncorrected=3)
    async with watched(kept):
        await asyncio.sleep(0.2)
        assert kept.keeper.drained == {}
        lease = await kept.keeper.lease([kept.first])
        lease.start()
        kept.steering.say(0, uncorrected=5)
        await lease.close()
        assert kept.reports.said[0][1] == "2 memory errors that ECC could not correct"
        await until(lambda: kept.keeper.drained == {})


async def test_an_error_that_the_driver_reports_counts_at_once_also_in_mid_run(
    kept: Kept,
) -> None:
    async with watched(kept):
        lease = await kept.keeper.lease([kept.first])
        lease.start()
        kept.steering.say(0, needs="a reset")
        kept.steering.xid(0, 79)
        await until(lambda: kept.first in kept.keeper.drained)
        assert kept.reports.said == [(kept.first, "Xid 79: it has fallen off the bus")]
        kept.steering.say(0, needs=None)
        await asyncio.sleep(0.3)
        assert kept.first in kept.keeper.drained, "it is leased: nobody examines it yet"
        await lease.close()
        await until(lambda: kept.keeper.drained == {})
    assert [reason for _, reason in kept.reports.said][1:] == [None]


@pytest.mark.parametrize("code", [13, 31, 43, 45, 68, 109])
async def test_an_error_of_a_program_takes_nothing_out_of_service(kept: Kept, code: int) -> None:
    async with watched(kept):
        kept.steering.xid(0, code)
        kept.steering.xid(1, 79)
        await until(lambda: kept.second in dict(kept.reports.said))
    assert kept.first not in dict(kept.reports.said)


async def test_where_the_driver_cannot_tell_a_gpu_must_be_quiet_for_long(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.steering.say(0, tells_needs=False)
    async with watched(kept):
        kept.steering.xid(0, 48)
        await until(lambda: kept.first in kept.keeper.drained)
        await asyncio.sleep(0.5)
        assert kept.first in kept.keeper.drained
        monkeypatch.setattr(gpu_keeper, "_QUIET", 0.1)
        await until(lambda: kept.keeper.drained == {})


async def test_a_gpu_that_falls_off_the_bus_while_idle_is_found(kept: Kept) -> None:
    async with watched(kept):
        kept.steering.say(1, lost=True)
        await until(lambda: kept.second in kept.keeper.drained)
        kept.steering.say(1, lost=False)
        await until(lambda: kept.keeper.drained == {})
    assert kept.reports.said == [(kept.second, "it has fallen off the bus"), (kept.second, None)]


async def test_a_driver_that_hangs_takes_one_gpu_and_not_the_other(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_keeper, "_ASK", 0.1)
    kept.steering.say(0, hangs=30.0)
    async with watched(kept):
        await until(lambda: kept.first in kept.keeper.drained)
        assert kept.keeper.drained == {kept.first: "the driver has not answered for 0.1 s"}
        lease = await kept.keeper.lease([kept.second])
        lease.start()
        await lease.finish()
        await lease.close()
        assert kept.second not in kept.keeper.drained


async def test_a_sandbox_that_gets_no_gpu_keeps_it_out_longer_each_time(kept: Kept) -> None:
    loop = asyncio.get_running_loop()
    took = []
    async with watched(kept):
        for _ in range(2):
            lease = await kept.keeper.lease([kept.first])
            await lease.fail("there is no NVIDIA runtime")
            await lease.close()
            began = loop.time()
            await until(lambda: kept.keeper.drained == {})
            took.append(loop.time() - began)
    assert took[0] >= 0.2
    assert took[1] >= 0.4
    assert kept.reports.said[0] == (kept.first, "there is no NVIDIA runtime")


async def test_what_an_earlier_agent_took_out_of_service_is_looked_at_and_put_back(
    kept: Kept,
) -> None:
    kept.reports.state[kept.first] = "Xid 79"
    kept.steering.say(0, needs="a reset")
    async with watched(kept):
        await asyncio.sleep(0.3)
        assert kept.keeper.drained == {kept.first: "Xid 79"}
        assert kept.reports.said == []
        kept.steering.say(0, needs=None)
        await until(lambda: kept.reports.said == [(kept.first, None)])


async def test_what_the_log_has_lost_is_said_again(kept: Kept) -> None:
    kept.steering.say(0, lost=True)
    async with watched(kept):
        await until(lambda: kept.first in kept.reports.state)
        kept.reports.state.clear()
        await until(lambda: kept.first in kept.reports.state)


async def test_a_gpu_whose_device_is_missing_is_out_of_service_until_it_is_there(
    kept: Kept, tmp_path: Path
) -> None:
    node = tmp_path / "nvidia0"
    gpus = kept.library.inventory()
    gpus[kept.first] = msgspec.structs.replace(gpus[kept.first], devices=(str(node),))
    keeper = kept.keeper = GpuKeeper(kept.library, gpus, kept.reports, 0.1)
    with pytest.raises(GpuUnavailable, match="nvidia0 is missing"):
        await keeper.lease([kept.first])
    async with watched(kept):
        await asyncio.sleep(0.3)
        assert keeper.drained == {kept.first: f"{node} is missing"}
        node.touch()
        await until(lambda: keeper.drained == {})
    lease = await keeper.lease([kept.first])
    assert lease.devices == (str(node),)
    await lease.close()


async def test_a_lease_measures_its_gpus(kept: Kept) -> None:
    kept.steering.say(0, memory=10, power=70.0)
    kept.steering.say(1, memory=5, power=30.0, utilisation=1.0)
    lease = await kept.keeper.lease([kept.first, kept.second])
    lease.start()
    await asyncio.sleep(0.3)
    use = await lease.finish()
    await lease.close()
    assert use.peak_memory == 15
    assert use.utilisation == pytest.approx(0.75)
    assert use.energy == pytest.approx(30.0, rel=0.5)
    assert use.samples


async def test_a_lease_of_no_gpus_costs_nothing(kept: Kept) -> None:
    lease = await kept.keeper.lease([])
    assert (lease.locks, lease.devices) == ((), ())
    lease.start()
    assert (await lease.finish()).samples is None
    await lease.close()


async def test_a_lease_that_is_given_up_while_it_waits_leaves_nothing_locked(kept: Kept) -> None:
    lease = await kept.keeper.lease([kept.second])
    waiting = asyncio.create_task(kept.keeper.lease([kept.first, kept.second]))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait({waiting})
    os.close(lock(kept.first))
    await lease.close()


async def test_a_refused_lease_tells_the_log_why_where_it_does_not_know(kept: Kept) -> None:
    """Another agent of the host has found it well; here it cannot be used all the same."""
    lease = await kept.keeper.lease([kept.first])
    await lease.fail("the engine has no NVIDIA runtime")
    await lease.close()
    with pytest.raises(GpuUnavailable):
        await kept.keeper.lease([kept.first])
    assert kept.reports.said == [(kept.first, "the engine has no NVIDIA runtime")]
    kept.reports.state.clear()
    with pytest.raises(GpuUnavailable):
        await kept.keeper.lease([kept.first])
    assert kept.reports.state == {kept.first: "the engine has no NVIDIA runtime"}


async def test_what_only_the_log_said_is_over_when_the_log_says_so(kept: Kept) -> None:
    kept.reports.state[kept.first] = "Xid 79"
    kept.steering.say(0, tells_needs=False)
    async with watched(kept):
        await until(lambda: kept.first in kept.keeper.drained)
        kept.reports.state.clear()
        await until(lambda: kept.keeper.drained == {})
    assert kept.reports.said == []


async def test_a_lease_too_hears_that_the_log_says_so(tmp_path: Path) -> None:
    kept = Kept(tmp_path, recheck=60.0)
    kept.reports.state[kept.first] = "Xid 79"
    kept.steering.say(0, tells_needs=False)
    async with watched(kept):
        await until(lambda: kept.first in kept.keeper.drained)
        kept.reports.state.clear()
        await (await kept.keeper.lease([kept.first])).close()
    assert kept.reports.said == []


async def test_what_is_unwell_here_too_stays_out_whatever_the_log_says(kept: Kept) -> None:
    kept.reports.state[kept.first] = "Xid 79"
    kept.steering.say(0, needs="a reset")
    async with watched(kept):
        await until(lambda: kept.first in kept.keeper.drained)
        await asyncio.sleep(0.2)
        kept.reports.state.clear()
        await until(lambda: kept.first in kept.reports.state)
        assert kept.first in kept.keeper.drained


async def test_what_was_put_back_here_is_not_taken_out_for_what_the_log_still_says(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LateReports(FakeReports):
        """A log that is read late."""

        def __init__(self) -> None:
            super().__init__()
            self.is_read = asyncio.Event()

        async def restore(self, uuid: str) -> None:
            self.said.append((uuid, None))
            await self.is_read.wait()
            self.state.pop(uuid)

    class DeafNvml(FakeNvml):
        """Cannot hear of errors: with each that it may have missed, all GPUs are looked at."""

        def next_xid(self, timeout: float) -> Xid | None:
            raise GpuFault("Unknown Error")

    monkeypatch.setattr(gpu_events, "_AFTER_FAULT", 0.05)
    library = kept.library = DeafNvml(2, new_id(), kept.steering.path)
    reports = kept.reports = LateReports()
    keeper = kept.keeper = GpuKeeper(library, library.inventory(), reports, 60.0)
    kept.first, _ = library.inventory()
    reports.state[kept.first] = "Xid 79"
    async with watched(kept):
        await until(lambda: reports.said == [(kept.first, None)])
        await asyncio.sleep(0.3)
        assert kept.first not in keeper.drained
        await (await keeper.lease([kept.first])).close()
        reports.is_read.set()
        await until(lambda: reports.state == {})
        await asyncio.sleep(0.2)
    assert (kept.first, "Xid 79") not in reports.said


async def test_an_error_that_comes_while_it_is_looked_at_keeps_it_out(tmp_path: Path) -> None:
    kept = Kept(tmp_path, recheck=0.5)
    kept.reports.state[kept.first] = "it needed a reset"
    kept.steering.say(0, hangs=0.3)
    async with watched(kept):
        await asyncio.sleep(0.1)
        kept.steering.xid(0, 79)
        await asyncio.sleep(0.4)
        assert kept.first in kept.keeper.drained
        kept.steering.say(0, hangs=0.0)
        await until(lambda: kept.keeper.drained == {})


async def test_a_gpu_that_was_never_usable_is_tried_again_within_an_hour(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_keeper, "_LONGEST_PAUSE", 0.3)
    lease = await kept.keeper.lease([kept.first])
    kept.keeper._kept[kept.first].faults = 5_000
    await lease.fail("the engine has no NVIDIA runtime")
    await lease.close()
    async with watched(kept):
        await until(lambda: kept.keeper.drained == {})


async def test_whether_a_gpu_is_in_use_on_this_host(kept: Kept) -> None:
    assert kept.keeper.is_unused(kept.first)
    lease = await kept.keeper.lease([kept.first])
    assert not kept.keeper.is_unused(kept.first)
    await lease.close()
    held = lock(kept.first)
    assert not kept.keeper.is_unused(kept.first)
    os.close(held)
    assert kept.keeper.is_unused(kept.first)
    assert not kept.keeper.is_unused("GPU-elsewhere")
