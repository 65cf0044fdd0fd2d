"""Every shape field by field, as the server sends it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tests.acceptance.rest import SHELL, Rest
from tests.support.system import User

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SHA256 = re.compile(r"[0-9a-f]{64}")
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LIMITS = {"time", "memory", "cpus", "output", "processes"}


def words(text: str) -> set[str]:
    return set(text.split())


EXECUTION = words(
    "id kind function owner pool status outcome reason exit_code signal attempt "
    "attempts limits gpu input output usage created_at started_at finished_at "
    "cancel_requested_at positions"
)
FUNCTION = words(
    "id owner name version language gpu_capable scope handler limits gpu status "
    "build_id source_sha256 artifact_sha256 error created_at built_at position"
)
ATTEMPT = words("attempt agent gpus status scheduled_at claimed_at started_at ended_at reason")
USAGE = words(
    "wall_time cpu_time peak_memory output_bytes gpu_time gpu_peak_memory "
    "gpu_utilisation gpu_energy gpu_samples"
)
EVENT = words(
    "id kind version occurred_at actor causation_id correlation_id data position superseded"
)
AGENT = words("id pool state sandbox slots running cpus memory gpus version joined_at seen_at")


def position(document: Any) -> None:
    assert set(document) >= {"topic", "partition", "offset"}
    assert isinstance(document["partition"], int)
    assert isinstance(document["offset"], int)


def times(document: Any) -> None:
    """Every `…_at`, however deep, is null or a time in full."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name.endswith("_at") and value is not None:
                assert TIME.fullmatch(value), (name, value)
            times(value)
    elif isinstance(document, list):
        for item in document:
            times(item)


def test_a_user(rest: Rest) -> None:
    user = rest.get("/users/me").json(200)
    assert (user["username"], user["admin"]) == ("sue", False)
    assert TIME.fullmatch(user["created_at"])


def test_a_function(rest: Rest) -> None:
    function = rest.get("/functions/sue/shell/1.0.0").json(200)
    assert set(function) >= FUNCTION
    assert function["id"] == "sue/shell:1.0.0"
    assert (function["owner"], function["name"], function["version"]) == ("sue", "shell", "1.0.0")
    assert (function["language"], function["gpu_capable"], function["gpu"]) == ("cpp", False, None)
    assert (function["scope"], function["handler"]) == ("public", "./shell")
    assert (function["status"], function["error"]) == ("built", None)
    assert UUID7.fullmatch(function["build_id"]) or len(function["build_id"]) == 36
    assert SHA256.fullmatch(function["source_sha256"])
    assert SHA256.fullmatch(function["artifact_sha256"])
    assert set(function["limits"]) == LIMITS
    assert (function["limits"]["time"], function["limits"]["output"]) == (600, 10485760)
    position(function["position"])
    times(function)
    assert function["created_at"] < function["built_at"]


def test_an_execution_as_accepted_and_as_finished(rest: Rest) -> None:
    script = "echo out; echo err >&2; exit 3"
    accepted = rest.run(script)
    assert set(accepted) >= EXECUTION
    assert UUID7.fullmatch(accepted["id"])
    assert (accepted["kind"], accepted["function"]) == ("run", "sue/shell:1.0.0")
    assert (accepted["owner"], accepted["pool"]) == ("sue", "default")
    for name in ("outcome", "exit_code", "signal", "started_at", "finished_at", "usage", "gpu"):
        assert accepted[name] is None, name
    assert accepted["positions"]["finished"] is None
    position(accepted["positions"]["requested"])

    done = rest.finished(accepted["id"])
    assert set(done) >= EXECUTION
    times(done)
    assert (done["status"], done["outcome"]) == ("finished", "failed")
    assert (done["exit_code"], done["signal"], done["cancel_requested_at"]) == (3, None, None)
    assert set(done["limits"]) == LIMITS
    digest = hashlib.sha256(script.encode()).hexdigest()
    assert done["input"] == {"bytes": len(script), "sha256": digest}
    for stream, text in (("stdout", b"out\n"), ("stderr", b"err\n")):
        digest = hashlib.sha256(text).hexdigest()
        assert done["output"][stream] == {"bytes": 4, "sha256": digest}
    assert set(done["positions"]) == {"requested", "started", "finished"}
    for one in done["positions"].values():
        position(one)
    [attempt] = done["attempts"]
    assert set(attempt) >= ATTEMPT
    assert (attempt["attempt"], attempt["gpus"], done["attempt"]) == (1, [], 1)
    usage = done["usage"]
    assert set(usage) == USAGE
    assert usage["output_bytes"] == 8
    assert 0 < usage["wall_time"] < 60
    assert usage["cpu_time"] >= 0
    assert usage["peak_memory"] > 0
    assert {usage[name] for name in USAGE if name.startswith("gpu_")} == {None}
    assert done["created_at"] < done["started_at"] < done["finished_at"]


def test_an_end_by_a_signal_has_no_exit_code(rest: Rest) -> None:
    done = rest.finished(rest.run("kill -11 $$")["id"])
    assert (done["outcome"], done["exit_code"], done["signal"]) == ("failed", None, 11)


def test_an_execution_without_output_has_two_empty_streams(rest: Rest) -> None:
    done = rest.finished(rest.run("exit 0")["id"])
    empty = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    assert done["output"] == {"stdout": empty, "stderr": empty}
    answer = rest.get(f"/executions/{done['id']}/output/stdout")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["ETag"] == f'"{empty["sha256"]}"'


def test_a_build_is_an_execution_that_lists_of_runs_leave_out(rest: Rest, sue: User) -> None:
    build_id = rest.get("/functions/sue/shell/1.0.0").json(200)["build_id"]
    build = rest.get(f"/builds/{build_id}").json(200)
    assert set(build) >= EXECUTION | {"artifact_sha256", "error"}
    assert (build["kind"], build["outcome"], build["error"]) == ("build", "succeeded", None)
    assert SHA256.fullmatch(build["artifact_sha256"])
    times(build)
    runs = rest.get("/executions?limit=200").json(200)["items"]
    assert {one["kind"] for one in runs} <= {"run"}
    builds = rest.get("/executions?kind=build").json(200)["items"]
    assert build_id in {one["id"] for one in builds}
    assert build_id in {one["id"] for one in sue.json("execution", "list", "--builds")}


def test_the_events_of_an_execution(rest: Rest) -> None:
    done = rest.finished(rest.run("exit 0")["id"])
    first = rest.get(f"/executions/{done['id']}/events?limit=2").json(200)
    assert len(first["items"]) == 2
    more = rest.get(f"/executions/{done['id']}/events?cursor={first['next_cursor']}").json(200)
    events = first["items"] + more["items"]
    assert more["next_cursor"] is None
    for event in events:
        assert set(event) == EVENT
        assert event["version"] == 1
        assert event["correlation_id"] == done["id"]
        position(event["position"])
    times(events)
    assert all(TIME.fullmatch(event["occurred_at"]) for event in events)
    kinds = [e["kind"] for e in events if not e["superseded"] and e["kind"] != "execution.queued"]
    names = ("requested", "scheduled", "claimed", "started", "finished")
    assert kinds == [f"execution.{name}" for name in names]
    by_kind = {event["kind"]: event for event in events}
    for name in ("requested", "started", "finished"):
        assert by_kind[f"execution.{name}"]["position"] == done["positions"][name]


def test_an_agent_and_no_gpu(rest: Rest, sue: User) -> None:
    [agent] = rest.get("/agents").json(200)["items"]
    assert set(agent) == AGENT
    assert (agent["pool"], agent["state"], agent["sandbox"]) == ("default", "online", "bubblewrap")
    assert agent["slots"] > 0
    assert isinstance(agent["running"], list)
    times(agent)
    assert rest.get("/agents?pool=default").json(200)["items"][0]["id"] == agent["id"]
    running = rest.run("sleep 600")["id"]
    rest.when(running, "running")
    assert running in rest.get("/agents").json(200)["items"][0]["running"]
    assert running in sue.json("agent", "list")[0]["running"]
    rest.post(f"/executions/{running}/cancel").json(202)
    gpus = rest.get("/gpus").json(200)["items"]
    assert {gpu["state"] for gpu in gpus} <= {"free", "leased", "drained"}


def test_every_gpu_field_has_its_unit_in_a_request(rest: Rest) -> None:
    for wrong in ({"count": 0}, {"memory": -1}, {"name": 5}, {"computeCapability": 8}, "yes", 1):
        rest.post("/executions", {"function": SHELL, "gpu": wrong}).problem(422, "invalid_input")
