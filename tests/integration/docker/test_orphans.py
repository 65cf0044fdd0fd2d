"""No container outlives its agent: killed, frozen, with and without the guard beside it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from infra.sandbox.docker.adapter import DockerSandbox
from infra.toolchain.model import Toolchain
from tests.support.containers import containers_of
from tests.support.sandboxes import Runner, control_groups_of, members_of, programs_of
from tests.support.second_agent import StartAgent, second_agents


@pytest.fixture
def start_owner(attacks: Path, toolchain: Toolchain) -> Iterator[StartAgent]:
    assert toolchain.run_image is not None
    with second_agents(attacks, toolchain.run_image) as start:
        yield start


async def until(condition: Callable[[], Awaitable[bool]], patience: float) -> None:
    """Wait until `condition` holds."""
    begin = time.monotonic()
    while not await condition():
        assert time.monotonic() - begin < patience, "it did not come true"
        await asyncio.sleep(0.05)


async def nothing_of(owner: str) -> bool:
    return await containers_of(owner) == {} and not members_of(owner)


async def clean_up(owner: str, toolchain: Toolchain) -> list[str]:
    """What the agent does that comes after: open, reap. Then nothing at all is left."""
    sandbox = DockerSandbox(owner, run_image=toolchain.run_image)
    await sandbox.open()
    reaped = await sandbox.reap(())
    await sandbox.close()
    assert await nothing_of(owner)
    assert control_groups_of(owner) == []
    assert not Path("/run/hermes-sandbox/docker", owner).exists()
    return reaped


async def test_a_killed_agent_leaves_no_container(
    start_owner: StartAgent, toolchain: Toolchain
) -> None:
    owner = start_owner("killed")
    assert len(await containers_of(owner.name)) == 1
    owner.send(signal.SIGKILL)
    await until(lambda: nothing_of(owner.name), 10.0)
    assert await clean_up(owner.name, toolchain) == []


async def test_a_lock_is_free_only_when_the_container_of_a_killed_agent_is_dead(
    start_owner: StartAgent, toolchain: Toolchain, tmp_path: Path
) -> None:
    path = tmp_path / "gpu0"
    locked = os.open(path, os.O_CREAT | os.O_RDONLY)
    fcntl.flock(locked, fcntl.LOCK_EX)
    owner = start_owner("locked", lock=locked)
    os.close(locked)
    probe = os.open(path, os.O_RDONLY)

    async def is_free() -> bool:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    assert not await is_free()
    owner.send(signal.SIGKILL)
    await until(is_free, 10.0)
    assert not members_of(owner.name)
    os.close(probe)
    await clean_up(owner.name, toolchain)


async def test_a_container_that_waits_ends_with_its_agent_even_without_a_guard(
    start_owner: StartAgent, toolchain: Toolchain
) -> None:
    owner = start_owner("waiting", how="waiting")
    owner.kill_guard()
    owner.send(signal.SIGKILL)
    await until(lambda: nothing_of(owner.name), 10.0)
    await clean_up(owner.name, toolchain)


async def test_a_container_that_stays_ends_with_its_agent_even_without_a_guard(
    start_owner: StartAgent, toolchain: Toolchain
) -> None:
    owner = start_owner("ended", how="ended")
    assert len(members_of(owner.name)) == 1
    assert programs_of(owner.name) == set()
    owner.kill_guard()
    owner.send(signal.SIGKILL)
    await until(lambda: nothing_of(owner.name), 10.0)
    assert await clean_up(owner.name, toolchain) == []


async def test_without_agent_and_guard_process_one_keeps_the_limit(
    start_owner: StartAgent, toolchain: Toolchain
) -> None:
    owner = start_owner("alone", limit=2.0)
    owner.kill_guard()
    owner.send(signal.SIGKILL)
    assert len(members_of(owner.name)) == 2, "it goes on until its time is over"
    await until(lambda: nothing_of(owner.name), 10.0)
    assert await clean_up(owner.name, toolchain) == []


async def test_the_next_agent_ends_what_goes_on(
    start_owner: StartAgent, toolchain: Toolchain
) -> None:
    owner = start_owner("earlier")
    owner.kill_guard()
    owner.send(signal.SIGKILL)
    (name,) = await clean_up(owner.name, toolchain)
    assert name.startswith("test-")


async def test_a_frozen_agents_container_ends_when_its_time_is_over(
    start_owner: StartAgent, toolchain: Toolchain
) -> None:
    owner = start_owner("frozen", limit=1.0)
    owner.kill_guard()  # process 1 alone has to see to it
    owner.send(signal.SIGSTOP)

    async def only_process_one() -> bool:
        return len(members_of(owner.name)) == 1

    await until(only_process_one, 5.0)
    owner.send(signal.SIGCONT)
    assert owner.next_line() == b"ended timed_out\n"
    assert owner.process.wait(20) == 0
    assert await clean_up(owner.name, toolchain) == []


async def test_two_owners_leave_each_others_containers_alone(
    start_owner: StartAgent, runner: Runner, toolchain: Toolchain
) -> None:
    other = start_owner("other")
    (theirs,) = (await containers_of(other.name)).values()
    assert await runner.sandbox.reap(()) == []
    stdin = os.open(os.devnull, os.O_RDONLY)
    ours = await runner.sandbox.prepare(runner.spec("/bin/true", stdin=stdin))
    (mine,) = (await containers_of(runner.sandbox._owner)).values()  # type: ignore[attr-defined]
    assert mine["Config"]["User"] != theirs["Config"]["User"]
    await ours.close()
    os.close(stdin)
    assert len(await containers_of(other.name)) == 1
    assert len(members_of(other.name)) == 2
    other.send(signal.SIGKILL)
    await until(lambda: nothing_of(other.name), 10.0)
    await clean_up(other.name, toolchain)
