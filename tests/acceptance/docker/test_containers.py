"""Runs in containers, seen by a user and by whoever looks at the engine beside."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from infra.engine import connect
from infra.images.engine import StoredImage, list_labelled
from tests.support.system import ROOT, System, User

FUNCTIONS = ROOT / "examples" / "functions"
SHELL = "dora/shell"


def labels_of(system: System) -> list[dict[str, str]]:
    """The labels of this Hermes' containers."""
    owner = hashlib.sha256(str(system.home).encode()).hexdigest()[:12]

    async def ask() -> list[dict[str, str]]:
        async with await connect() as client:
            found = await client.containers.list(all=True)
        labels = [container._container["Labels"] for container in found]
        return [one for one in labels if one.get("hermes.owner", "").endswith(owner)]

    return asyncio.run(ask())


def images_of(system: System, function: str) -> list[StoredImage]:
    """This Hermes' images that hold the function."""
    owner = hashlib.sha256(str(system.home).encode()).hexdigest()[:12]

    async def ask() -> list[StoredImage]:
        async with await connect() as client:
            found = await list_labelled(client, f"hermes.function={function}")
        return [image for image in found if image.labels["hermes.owner"].endswith(owner)]

    return asyncio.run(ask())


def until(look: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `look` finds, as soon as it finds anything."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    return found


def running(system: System, execution: str) -> Any:
    """The labels of the container of this execution."""
    return [one for one in labels_of(system) if one["hermes.name"].startswith(execution)]


def cold(dora: User, script: str) -> str:
    """Start an execution that nothing warm can serve: its input is too large for that."""
    padding = "#" * (1 << 20)
    return dora.ok("run", "--async", SHELL, stdin=f"{script}\n#{padding}".encode()).decode().strip()


def test_the_agent_says_that_it_runs_programs_in_containers(dora: User) -> None:
    assert [agent["sandbox"] for agent in dora.json("agent", "list")] == ["docker"]


def test_a_build_names_the_image_it_used_by_its_content(dora: User) -> None:
    build = dora.json("function", "inspect", SHELL)["build_id"]
    last = json.loads(dora.ok("execution", "events", build, "--json").splitlines()[-1])
    assert re.fullmatch(r"cpp-12[.\d]*@sha256:[0-9a-f]{64}", last["data"]["toolchain"])


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [("reduce-sum", b"5 1 2 3 4 5", b"15\n"), ("waiter", b"1 1", b"Hello 0\nHello 1\n")],
)
def test_the_examples_are_built_and_run(
    dora: User, name: str, given: bytes, expected: bytes
) -> None:
    dora.ok("function", "deploy", str(FUNCTIONS / name))
    for _ in range(3):  # cold, and perhaps warm
        assert dora.ok("run", f"dora/{name}", stdin=given) == expected


def test_both_streams_and_the_exit_code_are_the_programs_own(dora: User) -> None:
    done = dora.hermes("run", SHELL, stdin=b"printf 'a\\0b\\377'; printf err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, b"a\0b\xff")
    assert done.stderr.startswith(b"err")


def test_beyond_its_limits_a_run_ends_with_the_reason(dora: User) -> None:
    slow = dora.hermes("run", SHELL, "--timeout", "1", stdin=b"sleep 30")
    assert slow.returncode == 124
    loud = dora.hermes("run", SHELL, stdin=b"yes")
    assert dora.json("execution", "inspect", "@last")["outcome"] == "output_limit"
    assert len(loud.stdout) == 10 << 20


def test_a_container_carries_its_executions_name_and_is_gone_with_it(
    dora: User, docker_system: System
) -> None:
    execution = cold(dora, "echo here; sleep 3")
    found = until(lambda: running(docker_system, execution))
    assert [one["hermes.function"] for one in found] == [f"{SHELL}:1.0.0"]
    assert dora.ok("execution", "tail", execution) == b"here\n"
    until(lambda: not running(docker_system, execution))


def test_a_cancelled_run_leaves_no_container(dora: User, docker_system: System) -> None:
    execution = cold(dora, "trap '' TERM; sleep 60")
    until(lambda: running(docker_system, execution))
    dora.ok("execution", "cancel", execution)
    until(lambda: not running(docker_system, execution))
    assert dora.json("execution", "inspect", execution)["outcome"] == "cancelled"


def test_an_agent_that_is_killed_leaves_no_container_and_the_run_is_tried_again(
    dora: User, docker_system: System
) -> None:
    execution = cold(dora, "echo begun; sleep 8; echo done")
    until(lambda: running(docker_system, execution))
    until(lambda: dora.json("execution", "inspect", execution)["started_at"])
    docker_system.kill("agent")
    until(
        lambda: not [o for o in running(docker_system, execution) if o["hermes.name"][-2:] == "-1"]
    )
    docker_system.wait_ready()
    assert dora.ok("execution", "tail", execution).endswith(b"begun\ndone\n")
    inspected = dora.json("execution", "inspect", execution)
    assert (inspected["outcome"], inspected["attempt"]) == ("succeeded", 2)


def test_of_a_deleted_function_nothing_waits_and_no_image_is_left(
    dora: User, docker_system: System
) -> None:
    dora.ok("function", "deploy", str(FUNCTIONS / "char-printer"))
    dora.ok("run", "dora/char-printer", "--input", "3 a")
    waits = "dora/char-printer:1.0.0"

    def found() -> list[dict[str, str]]:
        return [one for one in labels_of(docker_system) if one["hermes.function"] == waits]

    until(found)
    assert images_of(docker_system, waits)
    dora.ok("function", "delete", waits, "--yes")
    until(lambda: not found())
    until(lambda: not images_of(docker_system, waits))
