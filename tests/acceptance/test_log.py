"""The log as an auditor reads it, with nothing but kcat."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.acceptance.rest import Rest, built, source
from tests.support.system import System, User

KCAT = shutil.which("kcat") or shutil.which("kafkacat")
pytestmark = pytest.mark.skipif(
    KCAT is None, reason="kcat is not installed (Debian: apt install kafkacat)"
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ENVELOPE = {"id", "kind", "occurred_at", "actor", "causation_id", "correlation_id", "data"}
FIELDS = {
    "pool.created/1": "pool",
    "function.registered/1": "owner name version config source_sha256",
    "function.built/1": "version build_id artifact_sha256 toolchain",
    "function.deleted/1": "version",
    "execution.requested/1": "execution_id kind function version artifact_sha256 source_sha256"
    " owner pool input limits gpu",
    "execution.scheduled/1": "execution_id attempt agent incarnation epoch gpus lease",
    "execution.claimed/1": "execution_id attempt agent",
    "execution.started/1": "execution_id attempt agent output_partition output_offset",
    "execution.finished/1": "execution_id attempt outcome exit_code signal usage last_seq output",
    "execution.cancel_requested/1": "execution_id",
    "agent.joined/1": "agent incarnation inventory",
    "scheduler.took_over/1": "scheduler epoch",
}


@pytest.fixture(scope="module")
def broker(system: System) -> str:
    ports = json.loads((system.home / "ports.json").read_text())
    return f"127.0.0.1:{ports['kafka']}"


def records(broker: str, topic: str, *more: str) -> list[Any]:
    """Everything in a topic."""
    assert KCAT is not None
    command = [KCAT, "-C", "-J", "-e", "-q", "-o", "beginning", "-b", broker, "-t", topic, *more]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    # kcat writes payloads as they are, also those that are no UTF-8.
    lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")
    return [json.loads(line) for line in lines if line]


def events(broker: str, topic: str) -> list[tuple[str, Any]]:
    return [(record["key"], json.loads(record["payload"])) for record in records(broker, topic)]


def check(event: Any) -> None:
    assert set(event) == ENVELOPE
    assert TIME.fullmatch(event["occurred_at"])
    if event["kind"] in FIELDS:
        assert set(event["data"]) >= set(FIELDS[event["kind"]].split()), event


def test_a_functions_events_stand_in_the_registry(broker: str, rest: Rest) -> None:
    answer = rest.deploy(source("logged", scope="private", limits={"time": 9}))
    function = answer.json(202)
    assert function["status"] == "registered"
    built(rest, "/functions/sue/logged/1.0.0")
    rest.ask("DELETE", "/v1/functions/sue/logged/1.0.0").json(200)
    found = events(broker, "hermes.registry")
    mine = [event for key, event in found if key == "sue/logged"]
    assert [event["kind"] for event in mine] == [
        "function.registered/1",
        "function.built/1",
        "function.deleted/1",
    ]
    for event in mine:
        check(event)
        assert event["data"]["version"] == "1.0.0"
    assert mine[0]["actor"] == "user:sue"
    assert mine[0]["data"]["config"]["limits"]["time"] == 9
    assert ("default", "pool.created/1") in [(key, event["kind"]) for key, event in found]


def test_an_executions_events_stand_in_its_pool_and_its_output_beside_them(
    broker: str, rest: Rest
) -> None:
    execution = rest.finished(rest.run("echo out; echo err >&2; exit 5")["id"])
    mine = [e for key, e in events(broker, "hermes.executions.default") if key == execution["id"]]
    kinds = [event["kind"] for event in mine if event["kind"] != "execution.queued/1"]
    names = ("requested", "scheduled", "claimed", "started", "finished")
    assert kinds == [f"execution.{name}/1" for name in names]
    for event in mine:
        check(event)
        assert event["correlation_id"] == execution["id"]
    finished = mine[-1]["data"]
    assert (finished["outcome"], finished["exit_code"], finished["last_seq"]) == ("failed", 5, 1)
    started = next(e["data"] for e in mine if e["kind"] == "execution.started/1")

    partition = str(started["output_partition"])
    output = [
        record
        for record in records(broker, "hermes.output.default", "-p", partition)
        if record["key"] == execution["id"] and record["offset"] >= started["output_offset"]
    ]
    streams = {}
    for number, record in enumerate(output):
        headers = dict(zip(record["headers"][::2], record["headers"][1::2], strict=True))
        assert set(headers) == {"attempt", "seq", "stream", "offset", "time", "after"}
        assert (headers["attempt"], headers["seq"], headers["offset"]) == ("1", str(number), "0")
        assert TIME.fullmatch(headers["time"])
        assert int(headers["after"]) > execution["positions"]["requested"]["offset"]
        streams[headers["stream"]] = record["payload"].encode()
    assert streams == {"stdout": b"out\n", "stderr": b"err\n"}
    for name, data in streams.items():
        digest = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert finished["output"][name] == digest


def test_no_record_of_output_is_longer_than_256_kib(broker: str, rest: Rest) -> None:
    execution = rest.finished(rest.run("head -c 1000000 /dev/zero")["id"])["id"]
    sizes = [
        len(record["payload"])
        for record in records(broker, "hermes.output.default")
        if record["key"] == execution
    ]
    assert max(sizes) <= 262_144
    assert sum(sizes) >= 1_000_000


def test_agents_and_schedulers_say_in_their_pool_that_they_serve_it(broker: str) -> None:
    found = events(broker, "hermes.executions.default")
    for kind in ("agent.joined/1", "scheduler.took_over/1"):
        some = [event for _, event in found if event["kind"] == kind]
        assert some
        check(some[0])


def test_heartbeats_come_once_a_second_or_so(broker: str, rest: Rest) -> None:
    found = records(broker, "hermes.heartbeats.default")
    assert {record["key"] for record in found} == {rest.get("/agents").json(200)["items"][0]["id"]}


def test_no_secret_and_no_users_bytes_stand_in_an_event(broker: str, sue: User, rest: Rest) -> None:
    rest.finished(rest.run("echo very-private-words")["id"])
    for topic in ("hermes.registry", "hermes.executions.default"):
        text = json.dumps(records(broker, topic))
        for secret in (sue.token, "hms_", "correct horse", "very-private-words"):
            assert secret not in text
