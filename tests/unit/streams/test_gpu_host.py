"""What an agent hears of its host's GPUs, and what it tells the log of them."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from hermes.settings import Settings
from infra.gpu import FakeNvml, GpuFault, GpuLibrary, NoGpus, Xid
from streams.agent import gpu_events, gpu_find
from streams.agent.gpu_events import XidWatch
from streams.agent.gpu_find import find_gpus
from streams.agent.gpu_reports import LogReports
from tests.support.fake_nvml import FakeGpuSteering
from tests.unit.domain.making import PoolPartition, gpu, gpu_drained, joined, took_over
from tests.unit.streams.fake_host import EventWriter, FakeFold


async def test_fake_gpus_are_found_where_they_are_asked_for(tmp_path: Path) -> None:
    _, gpus = await find_gpus(Settings(home=tmp_path, agent="a1", fake_gpus=2))
    assert len(gpus) == 2
    assert all(uuid.startswith("GPU-fake-a1-") for uuid in gpus)
    _, elsewhere = await find_gpus(Settings(home=tmp_path / "b", agent="a1", fake_gpus=2))
    assert not gpus.keys() & elsewhere.keys()


async def test_a_driver_that_cannot_list_its_gpus_is_loud_and_the_host_offers_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeNvml):
        def inventory(self) -> Any:
            raise GpuFault("Unknown Error")

    monkeypatch.setattr(gpu_find, "open_library", lambda *_: Broken(1, "x"))
    library, gpus = await find_gpus(Settings(home=tmp_path))
    assert isinstance(library, NoGpus)
    assert gpus == {}
    assert "no GPU of this host can be used: Unknown Error" in caplog.text


async def test_a_driver_that_hangs_keeps_no_agent_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(*_: Any) -> GpuLibrary:
        released.wait(10)
        return NoGpus()

    monkeypatch.setattr(gpu_find, "open_library", hang)
    monkeypatch.setattr(gpu_find, "_PATIENCE", 0.05)
    _, gpus = await find_gpus(Settings(home=tmp_path))
    assert gpus == {}
    released.set()


async def test_errors_are_heard_as_they_come_also_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu_events, "_WAIT", 0.1)
    monkeypatch.setattr(gpu_events, "_AFTER_FAULT", 0.05)
    steering = FakeGpuSteering(tmp_path / "gpus.json")
    library = FakeNvml(1, "x", steering.path)
    (uuid,) = library.inventory()
    async with XidWatch(library) as xids, asyncio.timeout(5):
        steering.xid(0, 31)
        assert await xids.next() == Xid(uuid, 31)
        whole = steering.path.read_text()
        steering.path.write_text("{")
        assert await xids.next() is None
        steering.path.write_text(whole)
        steering.xid(0, 79)
        while (xid := await xids.next()) is None:
            pass
        assert xid == Xid(uuid, 79)
    assert "errors of the GPUs are not seen now" in caplog.text


async def test_the_log_is_told_in_the_agents_name_and_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = PoolPartition()
    pool.accept(took_over(), joined("a1", "i1", gpu("g1"), gpu("g2")), gpu_drained("g2"))
    fold: Any = FakeFold()
    fold.state = pool.state
    events: Any = EventWriter()
    events.refusals = 1
    reports = LogReports(fold, events, "a1", "i1")
    assert reports.drained() == {"g2": "Xid 79"}
    with caplog.at_level(logging.WARNING):
        await reports.drain("g1", "it needs a reset")
    assert "waits for the log" in caplog.text
    await reports.restore("g2")
    assert [sent.key for sent in events.sent] == ["a1", "a1"]
    drained, restored = (json.loads(sent.value) for sent in events.sent)
    assert drained["kind"] == "agent.gpu_drained/1"
    assert drained["data"] == {
        "agent": "a1",
        "incarnation": "i1",
        "gpu": "g1",
        "reason": "it needs a reset",
    }
    assert restored["kind"] == "agent.gpu_restored/1"
    assert restored["actor"] == "agent:a1"


async def test_a_gpu_is_told_to_be_well_once_that_can_be_read_in_the_log() -> None:
    pool = PoolPartition()
    pool.accept(took_over(), joined("a1", "i1", gpu("g1")), gpu_drained("g1"))

    class SlowFold(FakeFold):
        asked = 0

        async def reached(self, offset: int, timeout: float) -> bool:
            self.asked += 1
            await asyncio.sleep(0.05)
            return self.asked == 3

    fold: Any = SlowFold()
    events: Any = EventWriter()
    reports = LogReports(fold, events, "a1", "i1")
    restoring = asyncio.create_task(reports.restore("g1"))
    await asyncio.sleep(0.07)
    assert not restoring.done()
    await restoring
    assert len(events.sent) == 1
