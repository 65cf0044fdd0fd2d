"""A sandbox that has waited serves like one made for the occasion, and one run only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from infra.sandbox.port import LATER, MIB, WARM_INPUT, Prepared, SandboxError, SandboxSpec
from infra.sandbox.warm import WarmSandboxes
from tests.support.sandboxes import Outcome, Runner


@contextmanager
def file_of(content: bytes) -> Iterator[int]:
    """An input as the agent has it: a file, to be read from its start."""
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


async def waiting(runner: Runner, *argv: str, **fields: Any) -> tuple[Prepared, SandboxSpec]:
    """One that waits, and the spec of a run that it fits."""
    spec = runner.spec(*argv, may_be_warm=True, **fields)
    early = msgspec.structs.replace(spec, name=f"warm-{spec.name}", stdin=LATER)
    return await runner.sandbox.prepare(early), spec


async def warm_run(runner: Runner, *argv: str, stdin: bytes = b"", **fields: Any) -> Outcome:
    prepared, spec = await waiting(runner, *argv, **fields)
    with file_of(stdin) as fd:
        assert prepared.waits
        prepared.assign(msgspec.structs.replace(spec, stdin=fd))
        return await runner.let_go(prepared)


async def test_a_normal_program_finds_the_same(runner: Runner) -> None:
    cold = await runner.run("normal", "a word; $HOME", stdin=b"the input")
    warm = await warm_run(runner, "normal", "a word; $HOME", stdin=b"the input")
    assert warm.steps == cold.steps
    assert "9 the input" in warm.steps["input"]
    assert (warm.stderr, warm.exit.exit_code) == (cold.stderr, cold.exit.exit_code)
    assert warm.exit.oom is False and warm.exit.killed is None
    assert (warm.exit.peak_memory is None) == (cold.exit.peak_memory is None)


@pytest.mark.parametrize(
    "content", [b"", b"a", b"two\nlines\n", os.urandom(WARM_INPUT)], ids=["none", "a", "two", "1M"]
)
async def test_the_input_arrives_whole_and_ends(runner: Runner, content: bytes) -> None:
    outcome = await warm_run(runner, "/bin/cat", stdin=content)
    assert outcome.stdout == content
    assert outcome.exit.exit_code == 0


async def test_the_input_can_be_opened_by_name(runner: Runner) -> None:
    assert (await warm_run(runner, "/bin/cat", "/dev/stdin", stdin=b"by name")).stdout == b"by name"


async def test_an_input_that_is_not_read_disturbs_nothing(runner: Runner) -> None:
    outcome = await warm_run(runner, "/bin/echo", "done", stdin=os.urandom(WARM_INPUT))
    assert (outcome.stdout, outcome.exit.exit_code) == (b"done\n", 0)


async def test_an_input_may_arrive_until_go(runner: Runner) -> None:
    prepared, spec = await waiting(runner, "/bin/cat")
    with file_of(b"") as fd:
        prepared.assign(msgspec.structs.replace(spec, stdin=fd))
        os.pwrite(fd, b"late", 0)
        assert (await runner.let_go(prepared)).stdout == b"late"


@pytest.mark.parametrize(
    ("script", "code", "by_signal"), [("exit 7", 7, None), ("kill -SEGV $$", None, 11)]
)
async def test_it_ends_as_it_would(
    runner: Runner, script: str, code: int | None, by_signal: int | None
) -> None:
    ended = (await warm_run(runner, "/bin/sh", "-c", script)).exit
    assert (ended.exit_code, ended.signal) == (code, by_signal)


async def test_the_clock_starts_at_go_with_the_limit_of_the_run(runner: Runner) -> None:
    prepared, spec = await waiting(runner, "/bin/sleep", "9", limits={"time": 0.3})
    await asyncio.sleep(0.6)
    limits = msgspec.structs.replace(spec.limits, time=0.8)
    with file_of(b"") as fd:
        prepared.assign(msgspec.structs.replace(spec, stdin=fd, limits=limits))
        ended = (await runner.let_go(prepared)).exit
    assert ended.timed_out
    assert 0.75 < ended.wall_time < 2.0


async def test_memory_and_processes_are_bounded_as_ever(runner: Runner) -> None:
    outcome = await warm_run(runner, "hog", "memory", limits={"memory": 64 * MIB})
    assert outcome.exit.oom
    assert outcome.exit.peak_memory is not None and outcome.exit.peak_memory <= 64 * MIB
    outcome = await warm_run(runner, "hog", "processes", limits={"processes": 10})
    assert outcome.exit.processes_limited
    assert 8 <= int(outcome.steps["processes"].partition(" ")[0]) <= 10


async def test_nothing_of_one_run_is_seen_by_the_next(runner: Runner) -> None:
    script = "ls -A /work /tmp /dev/shm; cat; touch /work/mine /tmp/mine /dev/shm/mine"
    seen = [await warm_run(runner, "/bin/sh", "-c", script, stdin=word) for word in (b"1", b"2")]
    assert b"mine" not in seen[1].stdout
    assert [outcome.stdout[-1:] for outcome in seen] == [b"1", b"2"]


async def test_many_that_wait_stay_apart(runner: Runner) -> None:
    script = "read -r line; echo $line > mine; sleep 0.1; cat mine; ls /work"
    outcomes = await asyncio.gather(
        *(warm_run(runner, "/bin/sh", "-c", script, stdin=b"%d\n" % n) for n in range(4))
    )
    assert [outcome.stdout for outcome in outcomes] == [b"%d\nmine\n" % n for n in range(4)]


async def test_a_kill_while_it_waits_ends_it_for_good(runner: Runner) -> None:
    prepared, spec = await waiting(runner, "/bin/echo", "on")
    await prepared.kill("shutdown")
    assert not prepared.waits
    with file_of(b"") as fd, pytest.raises(SandboxError):
        prepared.assign(msgspec.structs.replace(spec, stdin=fd))
    await prepared.close()


async def test_a_kill_between_assignment_and_go_counts(runner: Runner) -> None:
    prepared, spec = await waiting(runner, "/bin/echo", "on")
    with file_of(b"") as fd:
        prepared.assign(msgspec.structs.replace(spec, stdin=fd))
        await prepared.kill("cancelled", grace=5.0)
        outcome = await runner.let_go(prepared)
    assert (outcome.exit.killed, outcome.stdout) == ("cancelled", b"")


async def test_one_that_was_let_go_waits_no_more(runner: Runner) -> None:
    prepared, spec = await waiting(runner, "/bin/sleep", "1")
    with file_of(b"") as fd:
        prepared.assign(msgspec.structs.replace(spec, stdin=fd))
        prepared.go()
        assert not prepared.waits
        with pytest.raises(SandboxError):
            prepared.assign(msgspec.structs.replace(spec, stdin=fd))
    await prepared.close()


async def test_one_closed_while_it_waits_leaves_nothing(runner: Runner) -> None:
    files = len(list(Path("/proc/self/fd").iterdir()))
    prepared, _ = await waiting(runner, "/bin/cat")
    await prepared.close()
    await prepared.close()
    assert not prepared.waits
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert await runner.sandbox.reap(()) == []


class Borrowed:
    """The runner's sandbox, which stays open; counts what it prepares."""

    def __init__(self, runner: Runner) -> None:
        self._inner = runner.sandbox
        self.prepared: list[str] = []

    async def prepare(self, spec: SandboxSpec) -> Prepared:
        self.prepared.append(spec.name)
        return await self._inner.prepare(spec)

    async def forget(self, function: str) -> None:
        await self._inner.forget(function)

    async def close(self) -> None:
        pass


@pytest_asyncio.fixture
async def borrowed(runner: Runner) -> Borrowed:
    return Borrowed(runner)


@pytest_asyncio.fixture
async def warm(borrowed: Any, runner: Runner) -> AsyncIterator[WarmSandboxes]:
    sandbox = WarmSandboxes(borrowed, 2, lambda _: lambda: None)
    yield sandbox
    await sandbox.close()
    assert await runner.sandbox.reap(()) == []


async def test_the_second_run_of_a_function_is_warm(
    runner: Runner, borrowed: Borrowed, warm: WarmSandboxes
) -> None:
    for number in range(3):
        with file_of(b"%d" % number) as fd:
            spec = runner.spec("/bin/cat", stdin=fd, may_be_warm=True)
            outcome = await runner.let_go(await warm.prepare(spec))
        assert outcome.stdout == b"%d" % number
        assert (spec.name in borrowed.prepared) == (number == 0)
        while await warm.tend():
            pass


async def test_of_a_forgotten_function_nothing_waits(
    runner: Runner, borrowed: Borrowed, warm: WarmSandboxes
) -> None:
    with file_of(b"") as fd:
        spec = runner.spec("/bin/cat", stdin=fd, may_be_warm=True, function="ana/cat:1.0.0")
        await runner.let_go(await warm.prepare(spec))
    while await warm.tend():
        pass
    assert len(borrowed.prepared) == 2
    await warm.forget("ana/cat:1.0.0")
    assert await runner.sandbox.reap(()) == []
