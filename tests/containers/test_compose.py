"""The main job on three brokers, of which one dies, or falls silent, in mid-run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.compose import Compose, command
from tests.support.system import ROOT, User

FUNCTIONS = ROOT / "examples" / "functions"
LOG = "hermes.executions.default"
SECONDS = 30
EXPECTED = b"".join(b"Hello %d\n" % number for number in range(SECONDS + 1))
PATIENCE = 180.0


@pytest.fixture(scope="module")
def composed(engine: None) -> Iterator[Compose]:
    if command() is None:
        pytest.skip("NO COMPOSE: neither docker-compose nor `docker compose` is here")
    running = Compose()
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def alice(composed: Compose) -> User:
    alice = composed.user("alice")
    for name in ("reduce-sum", "waiter"):
        alice.ok("function", "deploy", str(FUNCTIONS / name), timeout=PATIENCE)
    return alice


def wait_until(holds: Callable[[], bool], what: str, composed: Compose) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what}\n{composed.logs()}"
        time.sleep(0.5)


def catch_up(composed: Compose) -> None:
    wait_until(
        lambda: len(composed.partitions(LOG)[0]["isr"]) == 3,
        "the broker that was away does not catch up",
        composed,
    )


def test_every_event_has_three_copies_of_which_two_must_be_written(
    alice: User, composed: Compose
) -> None:
    (partition,) = composed.partitions(LOG)
    assert sorted(partition["replicas"]) == [1, 2, 3]
    catch_up(composed)


def test_the_main_job_is_done_in_a_sandbox_within_the_agents_container(alice: User) -> None:
    assert alice.ok("run", "alice/reduce-sum", stdin=b"5 1 2 3 4 5") == b"15\n"
    listed = alice.json("execution", "list")
    inspected = alice.json("execution", "inspect", listed[0]["id"])
    assert (inspected["function"], inspected["outcome"]) == ("alice/reduce-sum:1.0.0", "succeeded")
    assert inspected["output"]["stdout"]["sha256"] == hashlib.sha256(b"15\n").hexdigest()
    (agent,) = alice.json("agent", "list")
    assert (agent["id"], agent["state"], agent["sandbox"]) == ("compose", "online", "bubblewrap")


@pytest.mark.parametrize(("end", "mend"), [("kill", "start"), ("pause", "unpause")])
def test_nothing_is_lost_when_the_leader_of_the_log_dies_or_falls_silent_in_mid_run(
    alice: User, composed: Compose, end: str, mend: str
) -> None:
    leader = composed.partitions(LOG)[0]["leader"]
    run = alice.spawn("run", "alice/waiter", "--input", f"{SECONDS} 1")
    assert run.stdout is not None
    # Live: the first lines are here long before the program ends.
    seen = b"".join(run.stdout.readline() for _ in range(3))
    assert run.poll() is None
    composed.compose(end, f"kafka-{leader}")
    try:
        rest, said = run.communicate(timeout=PATIENCE + SECONDS)
        assert run.returncode == 0, f"{said.decode()}\n{composed.logs()}"
        assert seen + rest == EXPECTED
        # Two brokers go on.
        assert alice.ok("run", "alice/reduce-sum", stdin=b"2 20 22", timeout=PATIENCE) == b"42\n"
    finally:
        composed.compose(mend, f"kafka-{leader}")
    catch_up(composed)

    listed = alice.json("execution", "list")
    execution = next(one for one in listed if one["function"] == "alice/waiter:1.0.0")
    assert execution["outcome"] == "succeeded"
    assert (execution["attempt"], len(execution["attempts"])) == (1, 1)
    assert alice.ok("execution", "output", execution["id"]) == EXPECTED
    lines = alice.ok("execution", "events", execution["id"], "--json").splitlines()
    kinds = [event["kind"] for event in map(json.loads, lines) if not event["superseded"]]
    assert [kind for kind in kinds if kind != "execution.queued"] == [
        f"execution.{name}" for name in ("requested", "scheduled", "claimed", "started", "finished")
    ]
