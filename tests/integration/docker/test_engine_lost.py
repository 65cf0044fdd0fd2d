"""The engine freezes, is killed or is restarted in mid-run."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.sandbox.docker import adapter, containers
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import Prepared, SandboxError
from infra.toolchain.model import Toolchain
from tests.support.own_engine import OwnEngine
from tests.support.sandboxes import Runner, control_groups_of, members_of, until_empty

OWNER = f"lost-{os.getpid()}"


@pytest_asyncio.fixture(scope="module")
async def engine(toolchain: Toolchain) -> AsyncIterator[OwnEngine]:
    own = OwnEngine(Path(tempfile.mkdtemp(prefix="hermes-engine-", dir="/var/tmp")))
    await own.start()
    assert toolchain.run_image is not None
    await own.take_image(toolchain.run_image)
    yield own
    await own.remove()


@pytest_asyncio.fixture
async def lost(
    engine: OwnEngine, attacks: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Runner]:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    sandbox = DockerSandbox(OWNER, run_image=toolchain.run_image)
    await sandbox.open()
    yield Runner(sandbox, attacks)
    await sandbox.reap(())
    assert members_of(OWNER) == set()
    await sandbox.close()
    assert await left(engine) == []
    assert control_groups_of(OWNER) == []


@pytest.fixture
def no_input() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDONLY)
    yield fd
    os.close(fd)


async def left(engine: OwnEngine) -> list[str]:
    async with engine.client() as client:
        return [one.id for one in await client.containers.list(all=True)]


async def started(lost: Runner, no_input: int, script: str) -> Prepared:
    prepared = await lost.sandbox.prepare(lost.spec("/bin/sh", "-c", script, stdin=no_input))
    prepared.go()
    return prepared


async def until_it_writes(prepared: Prepared, expected: bytes) -> None:
    """Wait for the program to have come so far."""
    os.set_blocking(prepared.stdout, True)
    assert await asyncio.to_thread(os.read, prepared.stdout, len(expected)) == expected
    os.set_blocking(prepared.stdout, False)


async def test_a_run_goes_on_and_ends_while_the_engine_is_frozen(
    lost: Runner, engine: OwnEngine, no_input: int
) -> None:
    prepared = await started(lost, no_input, "sleep 0.5; echo out; exit 3")
    engine.send(signal.SIGSTOP)
    try:
        ended = await asyncio.wait_for(prepared.wait(), 5)
        assert (ended.exit_code, ended.signal, ended.killed) == (3, None, None)
        assert ended.cpu_time > 0
        assert os.read(prepared.stdout, 10) == b"out\n"
        begin = time.monotonic()
        await prepared.close()
        assert time.monotonic() - begin < 1.0
        await until_empty(OWNER)
    finally:
        engine.send(signal.SIGCONT)


async def test_a_run_is_killed_while_the_engine_is_frozen(
    lost: Runner, engine: OwnEngine, no_input: int
) -> None:
    prepared = await started(lost, no_input, "trap '' TERM; echo deaf; while :; do sleep 1; done")
    await until_it_writes(prepared, b"deaf\n")
    engine.send(signal.SIGSTOP)
    try:
        await asyncio.wait_for(prepared.kill("cancelled", grace=0.2), 5)
        ended = await prepared.wait()
        assert (ended.signal, ended.killed) == (signal.SIGKILL, "cancelled")
        await prepared.close()
        await until_empty(OWNER)
    finally:
        engine.send(signal.SIGCONT)


async def test_a_start_at_a_frozen_engine_is_given_up_and_leaves_nothing(
    lost: Runner, engine: OwnEngine, no_input: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_START_PATIENCE", 1.0)
    monkeypatch.setattr(containers, "_PATIENCE", 1.5)
    engine.send(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        with pytest.raises(SandboxError, match="ready"):
            await lost.sandbox.prepare(lost.spec("/bin/true", stdin=no_input))
        assert time.monotonic() - begin < 3.0
    finally:
        engine.send(signal.SIGCONT)
    await asyncio.sleep(1.0)
    assert await left(engine) == []


async def test_a_run_ends_as_it_should_though_the_engine_was_killed(
    lost: Runner, engine: OwnEngine, no_input: int
) -> None:
    prepared = await started(lost, no_input, "sleep 1; echo out; exit 3")
    await engine.end(signal.SIGKILL)
    ended = await asyncio.wait_for(prepared.wait(), 5)
    assert (ended.exit_code, ended.killed) == (3, None)
    assert os.read(prepared.stdout, 10) == b"out\n"
    await prepared.close()
    await engine.start()
    assert (await lost.run("/bin/true")).exit.exit_code == 0, "the same sandbox goes on"


async def test_a_run_that_a_restarting_engine_ends_is_no_fault_of_the_programs(
    lost: Runner, engine: OwnEngine, no_input: int
) -> None:
    prepared = await started(lost, no_input, "sleep 30")
    await engine.end(signal.SIGTERM)
    with pytest.raises(SandboxError, match="from outside"):
        await asyncio.wait_for(prepared.wait(), 5)
    await prepared.close()
    await engine.start()
    assert (await lost.run("/bin/true")).exit.exit_code == 0
