"""Programs that take more than they may: the limit holds and the run ends as it should."""

from __future__ import annotations

import signal

import pytest

from tests.support.sandboxes import LIMITS, Runner


@pytest.mark.parametrize("kind", ["processes", "threads"])
async def test_a_fork_bomb_stops_at_the_limit(runner: Runner, kind: str) -> None:
    outcome = await runner.run("hog", kind)
    count, _, why = outcome.steps[kind].partition(" ")
    assert why == "Resource temporarily unavailable"
    assert LIMITS.processes - 2 <= int(count) <= LIMITS.processes
    assert outcome.exit.processes_limited


@pytest.mark.parametrize("kind", ["memory", "family", "shared"])
async def test_a_memory_bomb_is_stopped(runner: Runner, kind: str) -> None:
    outcome = await runner.run("hog", kind)
    assert outcome.exit.oom
    assert outcome.steps.get(kind) not in {"done", "12 of 12"}
    assert outcome.exit.wall_time < LIMITS.time


async def test_the_program_killed_for_memory_ends_by_sigkill(runner: Runner) -> None:
    outcome = await runner.run("hog", "memory")
    assert (outcome.exit.exit_code, outcome.exit.signal) == (None, signal.SIGKILL)
    assert outcome.exit.killed is None
    assert outcome.exit.peak_memory is not None
    assert outcome.exit.peak_memory <= LIMITS.memory


async def test_descriptors_are_limited(runner: Runner) -> None:
    outcome = await runner.run("hog", "descriptors")
    count, _, why = outcome.steps["descriptors"].partition(" ")
    assert why == "Too many open files"
    assert int(count) < 1024


async def test_no_core_file_is_written(runner: Runner) -> None:
    outcome = await runner.run("/bin/sh", "-c", "/fn/hog core; ls -A /work")
    assert outcome.steps["core-limit"] == "Operation not permitted"
    assert outcome.stdout.splitlines()[1:] == []


async def test_cpu_time_stays_below_the_quota(runner: Runner) -> None:
    outcome = await runner.run("hog", "spin", limits={"cpus": 0.2})
    assert float(outcome.steps["spin"]) < 0.6
    assert outcome.exit.cpu_time < 0.7


@pytest.mark.parametrize(
    ("folder", "bound"),
    [("/work", LIMITS.work_bytes), ("/tmp", LIMITS.memory // 8), ("/dev/shm", LIMITS.memory // 8)],
)
async def test_a_writable_folder_takes_so_much_and_no_more(
    runner: Runner, folder: str, bound: int
) -> None:
    outcome = await runner.run("fill", "bytes", folder)
    written, _, why = outcome.steps["bytes"].partition(" ")
    assert why == "No space left on device"
    assert int(written) <= bound
    assert not outcome.exit.oom, "a full folder must not end the program"


@pytest.mark.parametrize("folder", ["/", "/dev", "/fn", "/etc", "/usr", "/proc", "/var/tmp"])
async def test_nothing_else_is_writable(runner: Runner, folder: str) -> None:
    outcome = await runner.run("fill", "bytes", folder)
    written, _, why = outcome.steps["bytes"].partition(" ")
    assert int(written) == 0
    assert why in {"Read-only file system", "Permission denied", "No such file or directory"}


@pytest.mark.parametrize("folder", ["/work", "/tmp", "/dev/shm"])
async def test_files_are_counted(runner: Runner, folder: str) -> None:
    outcome = await runner.run("fill", "files", folder)
    assert outcome.steps["files"] == f"{LIMITS.work_files} No space left on device"


async def test_a_sparse_file_is_refused(runner: Runner) -> None:
    outcome = await runner.run("fill", "sparse", "/work")
    assert outcome.steps["sparse"] == "File too large"
