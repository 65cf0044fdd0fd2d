"""CUDA through a whole Hermes on a real GPU: built, run, told live, measured, and ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.gpu import Nvml
from infra.sandbox.bubblewrap import BubblewrapSandbox
from tests.acceptance.rest import Rest
from tests.gpu.conftest import PROBE
from tests.support.system import System, User


@pytest.fixture(scope="module")
async def walls(nvml: Nvml) -> None:
    sandbox = BubblewrapSandbox("gpu-test-probe")
    why_not = await sandbox.probe()
    if why_not is not None:
        pytest.skip(f"NOT TRIED, no sandbox works here: {why_not}")


@pytest.fixture(scope="module")
def gpu_system(walls: None, cuda_home: Path) -> Iterator[System]:
    system = System()
    toolchains = cuda_home / "toolchains"
    if toolchains.is_dir():
        system.home.mkdir(mode=0o700)
        (system.home / "toolchains").symlink_to(toolchains)
    try:
        system.start()
        yield system
    finally:
        system.stop()


@pytest.fixture(scope="module")
def grace(gpu_system: System) -> User:
    grace = gpu_system.user("grace")
    grace.ok("function", "deploy", str(PROBE), timeout=600)
    return grace


@pytest.fixture(scope="module")
def rest(grace: User, gpu_system: System) -> Rest:
    return Rest(gpu_system.url, grace.token)


def begin(rest: Rest, words: str, **more: Any) -> str:
    asked = {"function": "grace/probe", "input": words, "gpu": True, **more}
    return str(rest.post("/executions", asked).json(202)["id"])


def all_free(rest: Rest) -> bool:
    return {gpu["state"] for gpu in rest.get("/gpus").json(200)["items"]} == {"free"}


def test_a_run_sees_its_gpu_and_its_output_comes_while_it_runs(grace: User, rest: Rest) -> None:
    assert len(grace.ok("run", "grace/probe", "--gpu", stdin=b"devices").split()) == 1
    began = time.monotonic()
    running = grace.spawn("run", "grace/probe", "--gpu", "--input", "spin 6 64")
    assert running.stdout is not None
    assert running.stdout.readline() == b"tick 0\n"
    assert rest.get("/executions").json(200)["items"][0]["status"] == "running"
    running.communicate(timeout=60)
    assert running.returncode == 0
    assert time.monotonic() - began > 6


def test_what_it_used_is_in_the_account(rest: Rest) -> None:
    usage = rest.finished(begin(rest, "spin 4 1024"))["usage"]
    assert usage["gpu_time"] == pytest.approx(usage["wall_time"])
    assert usage["gpu_peak_memory"] >= 1024 << 20
    assert usage["gpu_utilisation"] > 0.2
    assert usage["gpu_energy"] > 20
    print("measured:", usage)


def test_two_runs_are_never_on_one_gpu(rest: Rest) -> None:
    leases: dict[str, list[tuple[str, str]]] = {}
    runs = [begin(rest, "spin 1 64") for _ in range(4)]
    for run in runs:
        (attempt,) = rest.finished(run, timeout=120)["attempts"]
        for uuid in attempt["gpus"]:
            leases.setdefault(uuid, []).append((attempt["scheduled_at"], attempt["ended_at"]))
    for times in leases.values():
        times.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(times))


@pytest.mark.parametrize(
    ("words", "timeout", "outcome", "code"),
    [
        ("hang", 5, "timed_out", None),
        ("hog", 60, "failed", 3),
        ("oob", 60, "failed", 4),
    ],
)
def test_a_program_that_misuses_its_gpu_ends_and_the_gpu_is_well(
    rest: Rest, words: str, timeout: int, outcome: str, code: int | None
) -> None:
    execution = rest.finished(begin(rest, words, timeout=timeout), timeout=120)
    assert execution["outcome"] == outcome, execution
    assert code is None or execution["exit_code"] == code
    assert all_free(rest)
    assert rest.finished(begin(rest, "spin 0.5 64"))["outcome"] == "succeeded"
