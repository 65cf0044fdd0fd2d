"""Warm starts seen from outside: what waits, what serves a run, and what is left afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Collection, Iterator

import pytest

from infra.engine import connect
from tests.support.engine import need_engine
from tests.support.sandboxes import CONTROL_GROUPS
from tests.support.system import ROOT, System, User, running_system
from tests.support.toolchain_images import toolchain_images

FUNCTIONS = ROOT / "examples" / "functions"


@pytest.fixture(scope="module", params=["bubblewrap", "docker"])
def warm_system(request: pytest.FixtureRequest) -> Iterator[System]:
    if request.param == "docker":
        need_engine()
        toolchain_images()
    with running_system({"HERMES_SANDBOX": request.param, "HERMES_WARM": "2"}) as system:
        yield system


@pytest.fixture(scope="module")
def alice(warm_system: System) -> User:
    alice = warm_system.user("alice")
    alice.ok("function", "deploy", str(FUNCTIONS / "reduce-sum"))
    return alice


def waiting(system: System) -> set[str]:
    """Names of the sandboxes of this Hermes that wait, or that have waited and run now."""
    owner = hashlib.sha256(str(system.home).encode()).hexdigest()[:12]
    names = {
        name
        for folder, names, _ in os.walk(CONTROL_GROUPS)
        if folder.endswith(f"-{owner}")
        for name in names
    }
    if system.environment["HERMES_SANDBOX"] == "docker":
        names |= asyncio.run(_containers(owner))
    return {name for name in names if name.startswith("warm-")}


async def _containers(owner: str) -> set[str]:
    async with await connect() as client:
        labels = [one._container["Labels"] for one in await client.containers.list(all=True)]
    return {
        one["hermes.name"] for one in labels if one.get("hermes.owner", "").endswith(f"-{owner}")
    }


def some_wait(system: System, without: Collection[str] = ()) -> set[str]:
    """Those that wait as soon as there are any, and none of `without`."""
    deadline = time.monotonic() + 20.0
    while not (found := waiting(system)) or not found.isdisjoint(without):
        assert time.monotonic() < deadline, (found, system.logs())
        time.sleep(0.05)
    return found


def none_waits(system: System) -> None:
    """Until that is so."""
    deadline = time.monotonic() + 20.0
    while found := waiting(system):
        assert time.monotonic() < deadline, (found, system.logs())
        time.sleep(0.05)


def served_by(system: System, execution: str) -> str | None:
    """The sandbox that had waited for this execution's first attempt."""
    log = (system.home / "logs" / "agent.log").read_text()
    found = re.search(rf"{execution}-1 runs in (warm-\S+)", log)
    return found[1] if found else None


def test_a_run_is_served_by_what_has_waited_and_another_takes_its_place(
    alice: User, warm_system: System
) -> None:
    assert alice.ok("run", "alice/reduce-sum", stdin=b"2 1 1") == b"2\n"
    first = some_wait(warm_system)
    assert alice.ok("run", "alice/reduce-sum", stdin=b"5 1 2 3 4 5") == b"15\n"
    execution = alice.json("execution", "inspect", "@last")["id"]
    server = served_by(warm_system, execution)
    assert server in first
    some_wait(warm_system, without=[server])


def test_a_large_input_is_served_cold(alice: User, warm_system: System) -> None:
    alice.ok("run", "alice/reduce-sum", stdin=b"1 1")
    some_wait(warm_system)
    assert alice.ok("run", "alice/reduce-sum", stdin=b"600000" + b" 4" * 600_000) == b"2400000\n"
    execution = alice.json("execution", "inspect", "@last")["id"]
    assert served_by(warm_system, execution) is None
    assert waiting(warm_system)


def test_an_agent_that_is_killed_leaves_none_and_starts_anew(
    alice: User, warm_system: System
) -> None:
    alice.ok("run", "alice/reduce-sum", stdin=b"1 1")
    before = some_wait(warm_system)
    warm_system.kill("agent")
    warm_system.wait_ready()
    none_waits(warm_system)
    assert alice.ok("run", "alice/reduce-sum", stdin=b"1 7") == b"7\n"
    some_wait(warm_system, without=before)


def test_none_waits_for_a_deleted_function(alice: User, warm_system: System) -> None:
    alice.ok("run", "alice/reduce-sum", stdin=b"1 1")
    some_wait(warm_system)
    alice.ok("function", "delete", "alice/reduce-sum:1.0.0", "--yes")
    none_waits(warm_system)
