"""GPUs that only say so say what they are told to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hermes.domain.resources import GIB
from infra.gpu import FakeNvml, GpuFault, Xid, open_library
from tests.support.fake_nvml import FakeGpuSteering


@pytest.fixture
def steering(tmp_path: Path) -> FakeGpuSteering:
    return FakeGpuSteering(tmp_path / "gpus.json")


@pytest.fixture
def library(steering: FakeGpuSteering) -> FakeNvml:
    return FakeNvml(2, "here", steering.path)


def test_gpus_keep_their_names_when_their_agent_starts_anew() -> None:
    first, again = FakeNvml(2, "here").inventory(), FakeNvml(2, "here").inventory()
    assert first == again
    assert not first.keys() & FakeNvml(2, "there").inventory().keys()


def test_without_a_file_they_are_well_and_busy_by_half() -> None:
    library = FakeNvml(1, "here")
    (uuid,) = library.inventory()
    assert library.condition(uuid).needs is None
    assert library.condition(uuid).processes == ()
    assert library.sample(uuid).utilisation == 0.5
    assert library.next_xid(0.01) is None


def test_the_file_steers_each_by_its_number(library: FakeNvml, steering: FakeGpuSteering) -> None:
    first, second = library.inventory()
    steering.say(1, memory=5 * GIB, utilisation=0.9, processes=[4711], needs="a reset")
    assert library.sample(first).memory == 2 * GIB
    assert library.sample(second).memory == 5 * GIB
    assert library.condition(second).processes == (4711,)
    assert library.condition(second).needs == "a reset"
    steering.say(1, processes=[])
    assert library.condition(second).processes == ()


def test_the_energy_counter_rises_with_the_power(
    library: FakeNvml, steering: FakeGpuSteering
) -> None:
    first, _ = library.inventory()
    steering.say(0, power=200.0)
    before, began = library.sample(first).energy, time.monotonic()
    time.sleep(0.05)
    after, ended = library.sample(first).energy, time.monotonic()
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(200 * (ended - began), rel=0.2)


def test_an_error_is_reported_once(library: FakeNvml, steering: FakeGpuSteering) -> None:
    first, second = library.inventory()
    steering.xid(1, 79)
    steering.xid(0, 31)
    assert [library.next_xid(0.2) for _ in range(3)] == [Xid(second, 79), Xid(first, 31), None]


def test_one_that_is_lost_cannot_be_asked(library: FakeNvml, steering: FakeGpuSteering) -> None:
    first, second = library.inventory()
    steering.say(0, lost=True)
    for question in (library.sample, library.condition):
        with pytest.raises(GpuFault, match="bus"):
            question(first)
        question(second)
    with pytest.raises(GpuFault, match="no GPU GPU-other"):
        library.sample("GPU-other")


def test_a_file_that_is_not_json_is_no_steering(library: FakeNvml, tmp_path: Path) -> None:
    (tmp_path / "gpus.json").write_text("{")
    with pytest.raises(GpuFault, match="steers no fake GPU"):
        library.condition(next(iter(library.inventory())))


def test_fake_gpus_come_only_when_they_are_asked_for() -> None:
    assert len(open_library(3, "x").inventory()) == 3
    assert not any("fake" in uuid for uuid in open_library().inventory())
