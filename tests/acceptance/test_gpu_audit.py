"""The audit of GPUs over a whole Hermes: several users, an agent killed in mid-run, exact sums."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import write_shell
from tests.support.system import System, User, running_system

FUNCTION = "ada/shell"


@pytest.fixture(scope="module")
def gpu_system() -> Iterator[System]:
    with running_system({"HERMES_FAKE_GPUS": "2"}) as system:
        yield system


@pytest.fixture(scope="module")
def ada(gpu_system: System, tmp_path_factory: pytest.TempPathFactory) -> User:
    """The admin, who has deployed a function for everybody."""
    ada = gpu_system.user("ada")
    folder = write_shell(tmp_path_factory.mktemp("ada") / "shell", gpuCapable=True, scope="public")
    ada.ok("function", "deploy", str(folder))
    return ada


@pytest.fixture(scope="module")
def ben(gpu_system: System, ada: User) -> User:
    return gpu_system.user("ben")


def begin(user: User, script: str, *flags: str) -> str:
    words = ("run", "--async", FUNCTION, "--gpu", *flags, "--input", script)
    return user.ok(*words).decode().strip()


def ended(user: User, execution: str) -> Any:
    user.hermes("execution", "tail", execution)
    return user.json("execution", "inspect", execution)


def audit_without_leases(user: User, timeout: float = 30.0) -> Any:
    """The audit once every lease has ended."""
    deadline = time.monotonic() + timeout
    while (found := user.json("audit", "gpus"))["open_leases"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_the_sum_over_users_is_the_sum_over_gpus_to_the_microsecond(ada: User, ben: User) -> None:
    runs = [(user, begin(user, "sleep 0.3")) for user in (ada, ben, ben)]
    pair = begin(ada, "sleep 0.3", "--gpu-count", "2")
    for user, run in [*runs, (ada, pair)]:
        assert ended(user, run)["outcome"] == "succeeded"
    found = audit_without_leases(ada)
    assert (found["proved"], found["failures"], found["findings"]) == (True, 0, [])
    assert found["user_time_us"] == found["device_time_us"]
    users = {share["user"]: share for share in found["users"]}
    assert {name: share["leases"] for name, share in users.items()} == {"ada": 3, "ben": 2}
    assert sum(share["time_us"] for share in users.values()) == found["user_time_us"]
    assert sum(share["time_us"] for share in found["devices"]) == found["device_time_us"]
    assert sum(share["leases"] for share in found["devices"]) == 5
    assert users["ben"]["time_us"] >= 600_000
    text = ada.ok("audit", "gpus", "--pool", "default").decode()
    assert re.search(r"^Proved: no two leases of a GPU overlap; ", text, re.M), text


def test_a_lease_whose_agent_was_killed_ends_when_the_agent_is_back(
    gpu_system: System, ada: User
) -> None:
    run = begin(ada, "sleep 3", "--gpu-count", "2")
    while ada.json("execution", "inspect", run)["status"] != "running":
        time.sleep(0.05)
    during = ada.json("audit", "gpus")
    assert during["proved"]
    assert [lease["execution"] for lease in during["open_leases"]] == [run, run]
    gpu_system.kill("agent")
    gpu_system.kill("scheduler")
    gpu_system.wait_ready()
    execution = ended(ada, run)
    assert len(execution["attempts"]) == 2, execution
    assert execution["outcome"] == "succeeded"
    found = audit_without_leases(ada)
    assert found["proved"], found["findings"]
    assert found["user_time_us"] == found["device_time_us"]


def test_an_audit_is_for_admins_alone(ben: User) -> None:
    refused = ben.hermes("audit", "gpus", "--json")
    assert refused.returncode == 3
    assert json.loads(refused.stderr)["type"] == "urn:hermes:problem:forbidden"
    nowhere = ben.hermes("audit", "gpus", "--pool", "nowhere")
    assert nowhere.returncode == 3


def test_inspect_shows_what_a_run_had_of_its_gpus(ada: User) -> None:
    run = begin(ada, "sleep 1.2", "--gpu-count", "2")
    usage = ended(ada, run)["usage"]
    text = ada.ok("execution", "inspect", run).decode()
    assert f"{usage['gpu_time']:.3f} GPU-seconds" in text
    assert "GPU over time:" in text
