"""Register, build, run, tail, list, inspect, replay, rebuild: as a new user would."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest

from tests.support.system import ROOT, System, User

FUNCTIONS = ROOT / "examples" / "functions"


@pytest.fixture(scope="module")
def alice(system: System) -> User:
    alice = system.user("alice")
    alice.ok("function", "deploy", str(FUNCTIONS / "reduce-sum"))
    alice.ok("function", "deploy", str(FUNCTIONS / "waiter"))
    return alice


def test_a_run_prints_the_programs_output_and_ends_with_its_exit_code(alice: User) -> None:
    assert alice.ok("run", "alice/reduce-sum", stdin=b"5 1 2 3 4 5") == b"15\n"
    failed = alice.hermes("run", "alice/waiter", "--input", "2 0")
    assert failed.returncode == 1
    assert failed.stderr.startswith(b"waiter: the interval must be at least 1 second\n")


def test_an_asynchronous_run_prints_its_id_alone_and_is_tailed_to_its_end(alice: User) -> None:
    execution = alice.ok("run", "--async", "alice/waiter", "--input", "2 1").decode().strip()
    assert len(execution) == 36
    assert alice.ok("execution", "tail", execution) == b"Hello 0\nHello 1\nHello 2\n"
    inspected = alice.json("execution", "inspect", execution)
    assert (inspected["status"], inspected["outcome"]) == ("finished", "succeeded")
    assert (
        inspected["output"]["stdout"]["sha256"]
        == hashlib.sha256(b"Hello 0\nHello 1\nHello 2\n").hexdigest()
    )


def test_another_user_runs_a_public_function_and_sees_nothing_of_its_owners_runs(
    alice: User, system: System
) -> None:
    bob = system.user("bob")
    assert bob.ok("run", "alice/reduce-sum:1.0.0", stdin=b"2 20 22") == b"42\n"
    execution = alice.json("execution", "list", "--limit", "1")[0]["id"]
    assert bob.hermes("execution", "inspect", execution).returncode == 4
    assert all(e["id"] != execution for e in bob.json("execution", "list"))


def test_both_spellings_list_the_same_executions(alice: User) -> None:
    assert alice.json("execution", "list") == alice.json("execution:list")


def test_last_names_the_newest_execution_right_after_it_ran(alice: User) -> None:
    alice.ok("run", "alice/reduce-sum", stdin=b"2 1 1")
    assert alice.ok("execution", "output", "@last") == b"2\n"
    assert alice.json("execution", "inspect", "@last")["outcome"] == "succeeded"


def test_the_events_of_an_execution_stand_in_the_log_in_their_order(alice: User) -> None:
    alice.ok("run", "alice/reduce-sum", stdin=b"2 1 1")
    events = [
        json.loads(line) for line in alice.ok("execution", "events", "@last", "--json").splitlines()
    ]
    kinds = [event["kind"] for event in events if not event["superseded"]]
    assert [k for k in kinds if k != "execution.queued"] == [
        f"execution.{name}" for name in ("requested", "scheduled", "claimed", "started", "finished")
    ]
    offsets = [event["position"]["offset"] for event in events]
    assert offsets == sorted(offsets)


def test_a_replay_gives_the_same_bytes_with_the_runs_own_timing(alice: User) -> None:
    alice.ok("run", "alice/waiter", "--input", "2 1")
    started = time.monotonic()
    assert alice.ok("execution", "replay", "@last", "--speed", "2") == (
        b"Hello 0\nHello 1\nHello 2\n"
    )
    assert 0.8 < time.monotonic() - started < 3


def test_a_running_execution_is_cancelled_once(alice: User) -> None:
    execution = alice.ok("run", "--async", "alice/waiter", "--input", "60 1").decode().strip()
    time.sleep(0.5)
    alice.ok("execution", "cancel", execution)
    alice.hermes("execution", "tail", execution)
    assert alice.json("execution", "inspect", execution)["outcome"] == "cancelled"
    assert alice.hermes("execution", "cancel", execution).returncode == 5


def test_a_run_over_its_time_is_ended_and_says_so(alice: User) -> None:
    done = alice.hermes("run", "alice/waiter", "--input", "60 1", "--timeout", "1")
    assert done.returncode == 124
    assert done.stdout == b"Hello 0\n"


def test_a_version_that_exists_is_refused_with_a_hint(alice: User) -> None:
    done = alice.hermes("function", "deploy", str(FUNCTIONS / "waiter"))
    assert done.returncode == 5
    assert b"functionVersion" in done.stderr


def test_a_build_that_fails_shows_the_compilers_words_and_exits_with_1(
    alice: User, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    alice.ok(
        "function",
        "init",
        str(tmp_path),
        "--name",
        "broken",
        "--language",
        "cpp",
        "--no-gpu",
        "--yes",
    )
    (folder / "main.cpp").write_text("int main() { return oops; }\n")
    done = alice.hermes("function", "deploy", str(folder))
    assert done.returncode == 1
    assert b"oops" in done.stdout + done.stderr
    (folder / "main.cpp").write_text("int main() { return 0; }\n")
    alice.ok("function", "deploy", str(folder))
    assert alice.hermes("run", "alice/broken", "--input", "").returncode == 0


def test_a_template_builds_and_runs_as_it_is(alice: User, tmp_path: Path) -> None:
    alice.ok(
        "function",
        "init",
        str(tmp_path),
        "--name",
        "fresh",
        "--language",
        "cpp",
        "--no-gpu",
        "--yes",
    )
    assert alice.hermes("function", "build", str(tmp_path / "fresh")).returncode == 0
    assert alice.hermes("run", "alice/fresh", "--input", "x").returncode == 4
    alice.ok("function", "deploy", str(tmp_path / "fresh"))
    assert alice.ok("run", "alice/fresh", "--input", "hello")


def test_a_gpu_that_no_agent_has_is_a_clear_reason(alice: User, tmp_path: Path) -> None:
    alice.ok(
        "function",
        "init",
        str(tmp_path),
        "--name",
        "wants-gpu",
        "--language",
        "cpp",
        "--gpu",
        "--yes",
    )
    alice.ok("function", "deploy", str(tmp_path / "wants-gpu"))
    done = alice.hermes("run", "alice/wants-gpu", "--gpu", "--input", "x", timeout=20)
    assert done.returncode == 125
    assert b"GPU" in done.stderr
    assert alice.hermes("run", "alice/wants-gpu", "--no-gpu", "--input", "x").returncode == 0


def test_the_views_are_rebuilt_from_the_log_while_reads_go_on(alice: User, system: System) -> None:
    admin = next(iter(system._users.values()))
    before = alice.json("execution", "list", "--all")
    rebuilt = admin.json("projection", "rebuild", "--yes")
    assert rebuilt
    assert all(one["verified"] for one in rebuilt)
    assert alice.json("execution", "list", "--all") == before
    status = admin.json("projection", "status")
    assert {one["status"] for one in status} == {"running"}
