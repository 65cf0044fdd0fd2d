"""GPUs in a whole Hermes: two that only say so, and everything else real."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.acceptance.conftest import write_shell
from tests.acceptance.rest import Rest
from tests.support.fake_nvml import FakeGpuSteering
from tests.support.system import System, User, running_system

FUNCTION = "ada/shell"
GPU = "echo $CUDA_VISIBLE_DEVICES"


@pytest.fixture(scope="module")
def steering(tmp_path_factory: pytest.TempPathFactory) -> FakeGpuSteering:
    return FakeGpuSteering(tmp_path_factory.mktemp("gpus") / "gpus.json")


@pytest.fixture(scope="module")
def gpu_system(steering: FakeGpuSteering) -> Iterator[System]:
    with running_system(
        {
            "HERMES_FAKE_GPUS": "2",
            "HERMES_FAKE_GPUS_FILE": str(steering.path),
            "HERMES_GPU_RECHECK": "0.5",
        }
    ) as system:
        yield system


@pytest.fixture(scope="module")
def ada(gpu_system: System, tmp_path_factory: pytest.TempPathFactory) -> User:
    ada = gpu_system.user("ada")
    folder = write_shell(tmp_path_factory.mktemp("ada") / "shell", gpuCapable=True)
    ada.ok("function", "deploy", str(folder))
    return ada


@pytest.fixture(scope="module")
def rest(ada: User, gpu_system: System) -> Rest:
    """Ada without the command line, which is too slow to start several runs at once."""
    return Rest(gpu_system.url, ada.token)


def begin(rest: Rest, script: str, count: int = 1) -> str:
    asked = {"function": FUNCTION, "input": script, "gpu": {"count": count}}
    return str(rest.post("/executions", asked).json(202)["id"])


def gpus(rest: Rest) -> list[dict[str, Any]]:
    return sorted(rest.get("/gpus").json(200)["items"], key=lambda gpu: str(gpu["uuid"]))


def until(rest: Rest, number: int, state: str, timeout: float = 20.0) -> dict[str, Any]:
    """The GPU once the list shows it in this state."""
    deadline = time.monotonic() + timeout
    while True:
        gpu = gpus(rest)[number]
        if gpu["state"] == state:
            return gpu
        assert time.monotonic() < deadline, (state, gpu)
        time.sleep(0.1)


def test_every_run_has_its_gpu_for_itself_and_two_run_at_once(ada: User, rest: Rest) -> None:
    runs = [begin(rest, f"sleep 0.7; {GPU}") for _ in range(5)]
    leases: dict[str, list[tuple[str, str]]] = {}
    for run in runs:
        execution = rest.finished(run)
        assert execution["outcome"] == "succeeded", execution
        (attempt,) = execution["attempts"]
        (uuid,) = attempt["gpus"]
        assert ada.ok("execution", "output", run).decode().strip() == uuid
        leases.setdefault(uuid, []).append((attempt["scheduled_at"], attempt["ended_at"]))
    assert set(leases) == {gpu["uuid"] for gpu in gpus(rest)}
    for intervals in leases.values():
        intervals.sort()
        for (_, end), (start, _) in pairwise(intervals):
            assert end <= start, intervals
    first, second = leases.values()
    assert any(a < d and c < b for a, b in first for c, d in second), "never two at once"


def test_what_a_run_used_of_its_gpus_is_told(rest: Rest, steering: FakeGpuSteering) -> None:
    for number in (0, 1):
        steering.say(number, memory=3 << 30, utilisation=0.75, power=120.0)
    usage = rest.finished(begin(rest, "sleep 1.5", count=2))["usage"]
    assert usage["gpu_time"] == pytest.approx(2 * usage["wall_time"])
    assert usage["gpu_peak_memory"] == 2 * (3 << 30)
    assert usage["gpu_utilisation"] == pytest.approx(0.75)
    assert usage["gpu_energy"] == pytest.approx(240 * usage["wall_time"], rel=0.5)
    samples = usage["gpu_samples"]
    assert 2 <= len(samples) <= 60
    assert {sample["memory"] for sample in samples} == {2 * (3 << 30)}
    assert 1.0 < samples[-1]["time"] < 4.0


def test_a_run_without_a_gpu_sees_and_uses_none(ada: User, rest: Rest) -> None:
    asked = {"function": FUNCTION, "input": "echo $CUDA_VISIBLE_DEVICES.", "gpu": False}
    execution = rest.finished(rest.post("/executions", asked).json(202)["id"])
    assert ada.ok("execution", "output", execution["id"]) == b".\n"
    assert execution["attempts"][0]["gpus"] == []
    assert execution["usage"]["gpu_time"] is None
    assert execution["usage"]["gpu_samples"] is None


def test_an_error_that_the_driver_reports_takes_a_gpu_out_of_service_and_it_comes_back(
    ada: User, rest: Rest, steering: FakeGpuSteering
) -> None:
    # A driver that cannot tell what it takes: the GPU stays out until that is quiet for long.
    steering.say(1, tells_needs=False)
    steering.xid(1, 79)
    gpu = until(rest, 1, "drained")
    assert gpu["reason"] == "Xid 79: it has fallen off the bus"
    listed = ada.ok("gpu", "list").decode()
    assert "drained" in listed
    assert "Xid 79" in listed
    one = rest.finished(begin(rest, GPU))
    assert one["attempts"][0]["gpus"] == [gpus(rest)[0]["uuid"]]
    both = begin(rest, GPU, count=2)
    time.sleep(1.5)
    assert rest.get(f"/executions/{both}").json(200)["status"] in ("requested", "queued")
    steering.say(1, tells_needs=True)
    assert rest.finished(both)["outcome"] == "succeeded"
    assert until(rest, 1, "free")["reason"] is None


def test_an_error_of_a_program_takes_no_gpu_out_of_service(
    rest: Rest, steering: FakeGpuSteering
) -> None:
    steering.xid(0, 31)
    time.sleep(1.5)
    assert [gpu["state"] for gpu in gpus(rest)] == ["free", "free"]


def test_a_process_that_a_run_left_on_its_gpu_takes_it_out_of_service(
    rest: Rest, steering: FakeGpuSteering
) -> None:
    run = begin(rest, "sleep 1; " + GPU)
    started = rest.when(run, "running")
    number = [gpu["uuid"] for gpu in gpus(rest)].index(started["attempts"][0]["gpus"][0])
    steering.say(number, processes=[815])
    assert rest.finished(run)["outcome"] == "succeeded"
    assert until(rest, number, "drained")["reason"] == "process 815 still uses it"
    steering.say(number, processes=[])
    until(rest, number, "free")


def test_a_new_agent_looks_at_what_was_out_of_service_before_it_gives_it_out(
    rest: Rest, gpu_system: System, steering: FakeGpuSteering
) -> None:
    steering.say(0, needs="a reset")
    until(rest, 0, "drained")
    gpu_system.kill("agent")
    gpu_system.wait_ready()
    execution = rest.finished(begin(rest, GPU))
    assert execution["attempts"][-1]["gpus"] == [gpus(rest)[1]["uuid"]]
    assert gpus(rest)[0]["state"] == "drained"
    steering.say(0, needs=None)
    until(rest, 0, "free")


def test_the_log_proves_that_no_two_had_one_gpu(ada: User) -> None:
    audit = ada.hermes("audit", "gpus", "--json")
    assert audit.returncode == 0, (audit.stdout, audit.stderr)
    assert json.loads(audit.stdout)
