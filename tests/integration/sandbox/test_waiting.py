"""Bubblewrap sandboxes that wait: deaths from outside, locks, an agent that is killed."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from infra.sandbox.port import LATER, SandboxError, SandboxSpec
from infra.sandbox.warm import WarmSandboxes
from tests.support.sandboxes import Runner, control_groups_of, members_of


@pytest.fixture
def no_input() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDONLY)
    yield fd
    os.close(fd)


def early(spec: SandboxSpec) -> SandboxSpec:
    return msgspec.structs.replace(spec, name=f"warm-{spec.name}", stdin=LATER, held_fds=())


async def test_one_whose_processes_are_killed_is_not_assigned_even_at_once(
    runner: Runner, no_input: int
) -> None:
    spec = runner.spec("/bin/true", stdin=no_input)
    prepared = await runner.sandbox.prepare(early(spec))
    for pid in members_of(f"test-{os.getpid()}"):
        os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PIDFD, prepared._pidfd, os.WEXITED | os.WNOWAIT)  # type: ignore[attr-defined]
    with pytest.raises(SandboxError, match="waits no more"):
        prepared.assign(spec)
    await prepared.close()


async def test_one_that_has_its_input_is_not_assigned(runner: Runner, no_input: int) -> None:
    spec = runner.spec("/bin/true", stdin=no_input)
    prepared = await runner.sandbox.prepare(spec)
    with pytest.raises(SandboxError, match="input already"):
        prepared.assign(early(spec))
    await prepared.close()


async def test_one_whose_guard_cannot_be_told_says_so_as_a_sandbox_does(
    runner: Runner, no_input: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = runner.spec("/bin/true", stdin=no_input, held_fds=(no_input,))
    prepared = await runner.sandbox.prepare(early(spec))

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(runner.sandbox._guard, "watch", fail)  # type: ignore[attr-defined]
        with pytest.raises(SandboxError, match="too many open files"):
            prepared.assign(spec)
    await prepared.close()


async def test_the_pool_replaces_one_that_was_killed(runner: Runner, no_input: int) -> None:
    warm = WarmSandboxes(runner.sandbox, 1, lambda _: lambda: None)
    spec = runner.spec("/bin/echo", "on", stdin=no_input, may_be_warm=True)
    await runner.let_go(await warm.prepare(spec))
    assert await warm.tend()
    for pid in members_of(f"test-{os.getpid()}"):
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        while members_of(f"test-{os.getpid()}"):
            await asyncio.sleep(0.005)
    outcome = await runner.let_go(await warm.prepare(spec))
    assert (outcome.stdout, outcome.exit.exit_code) == (b"on\n", 0)
    await asyncio.sleep(1.1)
    while await warm.tend():
        pass
    assert len(members_of(f"test-{os.getpid()}")) == 2
    await warm.forget("")
    assert control_groups_of(f"test-{os.getpid()}") == []


async def test_the_guard_holds_what_came_with_the_assignment(
    runner: Runner, no_input: int, tmp_path: Path
) -> None:
    path = tmp_path / "lock"
    lock = os.open(path, os.O_CREAT | os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    spec = runner.spec("linger", "deaf", stdin=no_input, held_fds=(lock,))
    prepared = await runner.sandbox.prepare(early(spec))
    prepared.assign(spec)
    prepared.go()
    os.close(lock)  # which the sandbox was only lent
    probe = os.open(path, os.O_RDONLY)
    for _ in range(20):
        with pytest.raises(BlockingIOError):
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        await asyncio.sleep(0.005)
    await prepared.close()
    async with asyncio.timeout(5):
        while True:
            try:
                fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.005)
    os.close(probe)
