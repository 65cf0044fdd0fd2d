"""What stays of a container when its run has ended: process 1, for seconds, if it costs little."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.sandbox.docker import departures
from infra.sandbox.docker.adapter import DockerSandbox
from infra.toolchain.model import Toolchain
from tests.support.containers import containers_of
from tests.support.sandboxes import (
    Runner,
    control_groups_of,
    members_of,
    programs_of,
    until_empty,
)

OWNER = f"staying-{os.getpid()}"


@pytest_asyncio.fixture
async def staying(
    attacks: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Runner]:
    """A sandbox whose engine never seems idle; closing it takes everything along."""
    monkeypatch.setattr(departures, "QUIET", 60.0)
    monkeypatch.setattr(departures, "LONGEST", 60.0)
    sandbox = DockerSandbox(OWNER, run_image=toolchain.run_image)
    await sandbox.open()
    users = sandbox._users
    assert users is not None
    free = len(users._free)
    yield Runner(sandbox, attacks)
    await sandbox.close()
    assert len(users._free) == free, "every user id was given back"
    assert not Path("/run/hermes-sandbox/docker", OWNER).exists()
    assert members_of(OWNER) == set()
    assert await containers_of(OWNER) == {}
    assert control_groups_of(OWNER) == []


async def test_process_one_stays_alone_and_goes_when_the_agent_looks_for_leftovers(
    staying: Runner,
) -> None:
    outcome = await staying.run("linger", "daemon")
    assert outcome.steps["daemon"] == "left behind"
    assert programs_of(OWNER) == set()
    assert len(members_of(OWNER)) == 1
    assert await staying.sandbox.reap(()) == []
    assert members_of(OWNER) == set()


async def test_an_idle_engine_gets_them_removed(
    staying: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "QUIET", 0.1)
    for _ in range(3):
        await staying.run("/bin/true")
    await until_empty(OWNER)
    async with asyncio.timeout(10):
        while await containers_of(OWNER):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "how",
    [
        lambda lock: {"argv": ("/bin/sh", "-c", "head -c 16M /dev/zero > /work/x")},
        lambda lock: {"held_fds": (lock,)},
        lambda lock: {"keep_work": True},
        lambda lock: {"kind": "build", "image": None},
    ],
    ids=["much memory", "a lock", "a work folder that is kept", "a build"],
)
async def test_what_holds_more_than_a_little_goes_at_once(
    staying: Runner,
    toolchain: Toolchain,
    tmp_path: Path,
    how: Callable[[int], dict[str, Any]],
) -> None:
    lock = os.open(tmp_path, os.O_RDONLY)
    fields = how(lock)
    if "image" in fields:
        fields["image"] = toolchain.build_image
    argv = fields.pop("argv", ("/bin/true",))
    outcome = await staying.run(*argv, **fields)
    os.close(lock)
    assert outcome.exit.exit_code == 0
    assert members_of(OWNER) == set()


async def test_one_that_is_removed_by_somebody_else_is_forgotten(staying: Runner) -> None:
    await staying.run("/bin/true")
    (pid,) = members_of(OWNER)
    os.kill(pid, 9)
    async with asyncio.timeout(10):
        while await containers_of(OWNER):
            await asyncio.sleep(0.05)
    assert (await staying.run("/bin/true")).exit.exit_code == 0


async def test_one_whose_end_fails_for_want_of_descriptors_leaves_when_there_are_some(
    staying: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "FIRST_PAUSE", 0.1)
    await staying.run("/bin/true")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    leaving = staying.sandbox._departures  # type: ignore[attr-defined]
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await leaving.flush(0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert leaving._leaving, "it could not be seen whether it is empty"
    await leaving.flush(10.0)
    assert not leaving._leaving
