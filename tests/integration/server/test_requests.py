"""What a request for a run may say, and what happens when it comes twice."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from typing import Any

import asyncpg
import pytest

from hermes.domain.ids import new_id
from tests.support.api import Api, ApiUser
from tests.support.archives import config_bytes, function_archive
from tests.support.fake_agent import FakeAgent

from .conftest import deployed


async def test_the_request_carries_all_that_the_run_needs(
    ana: ApiUser, bob: ApiUser, agent: FakeAgent
) -> None:
    function = await deployed(
        ana, agent, functionName="limited", limits={"time": 5, "memory": 1 << 20, "cpus": 0.5}
    )
    document = {"function": f"{ana.name}/limited", "input": "é", "timeout": 2}
    answer = await bob.post("/executions", document)
    execution = answer.expect(202)
    assert answer.headers["Location"] == f"/v1/executions/{execution['id']}"
    position = "{topic}/{partition}/{offset}".format(**execution["positions"]["requested"])
    assert answer.headers["Hermes-Position"] == position
    assert execution["owner"] == bob.name
    assert execution["function"] == function["id"]
    assert execution["status"] == "requested"
    assert execution["limits"] == {
        "time": 2.0,
        "memory": 1 << 20,
        "cpus": 0.5,
        "output": 10 << 20,
        "processes": 256,
    }
    assert execution["input"] == {"bytes": 2, "sha256": hashlib.sha256("é".encode()).hexdigest()}
    assert execution["gpu"] is None
    # The user's bytes never stand in an event.
    events = (await bob.get(f"/executions/{execution['id']}/events")).expect(200)["items"]
    assert [event["kind"] for event in events] == ["execution.requested"]
    assert events[0]["actor"] == f"user:{bob.name}"
    assert events[0]["data"]["input"]["position"]["topic"].endswith(".output.default")


async def test_the_same_id_and_request_is_answered_as_the_first_time(
    ana: ApiUser, bob: ApiUser, function: dict[str, Any]
) -> None:
    document = {"function": function["id"], "input": "x", "id": new_id()}
    first = (await ana.post("/executions", document)).expect(202)
    again = (await ana.post("/executions", document)).expect(202)
    assert again["id"] == first["id"] == document["id"]
    assert again["positions"] == first["positions"]
    other = await ana.post("/executions", {**document, "input": "y"})
    other.problem(409, "already_exists")
    (await bob.post("/executions", document)).problem(409, "already_exists")
    for bad in ("x", new_id().upper(), "0" * 36, "018bcfe5-687b-7fff-8fff-ffffffffffff"):
        answer = await ana.post("/executions", {**document, "id": bad})
        answer.problem(400, "invalid_request")


async def test_concurrent_requests_with_one_id_are_one_execution(
    ana: ApiUser, function: dict[str, Any]
) -> None:
    document = {"function": function["id"], "input": "x", "id": new_id()}
    answers = await asyncio.gather(*(ana.post("/executions", document) for _ in range(10)))
    assert {answer.expect(202)["positions"]["requested"]["offset"] for answer in answers}
    listed = (await ana.get("/executions")).expect(200)["items"]
    assert [execution["id"] for execution in listed] == [document["id"]]


async def test_concurrent_requests_with_one_key_are_one_execution(
    ana: ApiUser, bob: ApiUser, function: dict[str, Any]
) -> None:
    document = {"function": function["id"], "input": "x"}
    key = {"Idempotency-Key": "one"}
    answers = await asyncio.gather(
        *(ana.post("/executions", document, headers=key) for _ in range(10))
    )
    assert len({answer.expect(202)["id"] for answer in answers}) == 1
    assert len({answer.body for answer in answers}) == 1
    assert len((await ana.get("/executions")).expect(200)["items"]) == 1
    other = await ana.post("/executions", {**document, "input": "y"}, headers=key)
    other.problem(409, "idempotency_mismatch")
    theirs = (await bob.post("/executions", document, headers=key)).expect(202)
    assert theirs["id"] != answers[0].json()["id"]
    for bad in ("", "x" * 129, "with space", "é"):
        answer = await ana.post("/executions", document, headers={"Idempotency-Key": bad})
        answer.problem(400, "invalid_request")


async def test_a_retry_whose_first_answer_was_lost_finds_its_execution(
    api: Api, ana: ApiUser, agent: FakeAgent
) -> None:
    function = await deployed(ana, agent, functionName="grows")
    document, key = {"function": f"{ana.name}/grows"}, {"Idempotency-Key": "lost"}
    first = (await ana.post("/executions", document, headers=key)).expect(202)
    database = await asyncpg.connect(api.settings.database_url)
    # As if the server had died between the log's acknowledgement and its own answer.
    await database.execute("UPDATE accounts.idempotency SET answer = NULL WHERE key = 'lost'")
    await database.close()
    await deployed(ana, agent, functionName="grows", functionVersion="2.0.0")
    again = (await ana.post("/executions", document, headers=key)).expect(202)
    assert (again["id"], again["function"]) == (first["id"], function["id"])
    assert len((await ana.get("/executions")).expect(200)["items"]) == 1


async def test_registering_twice_with_one_key_is_answered_as_the_first_time(
    ana: ApiUser, bob: ApiUser
) -> None:
    source = function_archive(config=config_bytes(functionName="keyed"))
    first = await ana.deploy(source, **{"Idempotency-Key": "k"})
    again = await ana.deploy(source, **{"Idempotency-Key": "k"})
    assert first.expect(202) == again.expect(202)
    assert first.headers["Location"] == f"/v1/functions/{ana.name}/keyed/1.0.0"
    assert again.headers["Hermes-Position"] == first.headers["Hermes-Position"]
    (await ana.deploy(source)).problem(409, "already_exists")
    other = function_archive(config=config_bytes(functionName="other"))
    answer = await ana.deploy(other, **{"Idempotency-Key": "k"})
    answer.problem(409, "idempotency_mismatch")
    assert (await bob.deploy(source, **{"Idempotency-Key": "k"})).expect(202)["owner"] == bob.name


async def test_only_one_of_two_racing_registrations_is_accepted(ana: ApiUser) -> None:
    source = function_archive(config=config_bytes(functionName="raced"))
    answers = await asyncio.gather(*(ana.deploy(source) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [202, 409, 409, 409, 409]


async def test_a_large_input_is_uploaded_first(
    ana: ApiUser, bob: ApiUser, function: dict[str, Any]
) -> None:
    data = b"x" * (1024 * 1024 + 1)
    inline = {"function": function["id"], "input_base64": base64.b64encode(data).decode()}
    body = io.BytesIO(json.dumps(inline).encode())
    (await ana.ask("POST", "/v1/executions", data=body)).problem(413, "too_large")
    sha256 = hashlib.sha256(data).hexdigest()
    wrong = await ana.ask("PUT", f"/v1/blobs/{sha256}", data=b"other")
    wrong.problem(422, "invalid_input")
    for status in (201, 200):
        answer = await ana.ask("PUT", f"/v1/blobs/{sha256}", data=io.BytesIO(data))
        assert answer.status == status
    document = {"function": function["id"], "input_blob": sha256}
    execution = (await ana.post("/executions", document)).expect(202)
    assert execution["input"] == {"bytes": len(data), "sha256": sha256}
    # Knowing a hash is not owning the bytes.
    (await bob.post("/executions", document)).problem(422, "invalid_input")


async def test_cancelling_is_idempotent_until_the_end(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution = (await ana.post("/executions", {"function": function["id"]})).expect(202)
    path = f"/executions/{execution['id']}"
    first = (await ana.post(f"{path}/cancel")).expect(202)
    assert first["cancel_requested_at"] is not None
    assert (await ana.post(f"{path}/cancel")).expect(202)["id"] == execution["id"]
    await agent.ends_unheld(execution["id"])
    assert [f.name async for f in ana.tail(f"{path}/tail")][-1] == "end"
    (await ana.post(f"{path}/cancel")).problem(409, "already_finished")
    assert (await ana.get(path)).expect(200)["outcome"] == "cancelled"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "function"),
        ({"function": 5}, "function"),
        ({"function": "no-slash"}, "function"),
        ({"input": "x", "input_base64": "eA=="}, "input_base64"),
        ({"input_base64": "%%%"}, "input_base64"),
        ({"input": 5}, "input"),
        ({"input": "\ud800"}, "input"),
        ({"input_blob": "abc"}, "input_blob"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": 10**9}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"gpu": True}, "gpu"),
        ({"gpu": "yes"}, "gpu"),
        ({"gpu": {"count": 0}}, "gpu.count"),
        ({"gpu": {"unknown": 1}}, "gpu.unknown"),
        ({"pool": "no-such-pool"}, "pool"),
        ({"pool": 7}, "pool"),
    ],
)
async def test_a_wrong_field_is_named(
    ana: ApiUser, function: dict[str, Any], document: dict[str, Any], field: str
) -> None:
    if "function" not in document and document:
        document = {"function": function["id"], **document}
    problem = (await ana.post("/executions", document)).problem(422, "invalid_input")
    assert field in [error["field"] for error in problem["errors"]]


async def test_what_cannot_run_says_why(ana: ApiUser, bob: ApiUser, agent: FakeAgent) -> None:
    source = function_archive(config=config_bytes(functionName="unbuilt"))
    unbuilt = (await ana.deploy(source)).expect(202)
    (await ana.post("/executions", {"function": unbuilt["id"]})).problem(409, "not_built")
    (await ana.post("/executions", {"function": "no/such"})).problem(404, "not_found")
    secret = await deployed(ana, agent, functionName="secret", scope="private")
    hidden = (await bob.post("/executions", {"function": secret["id"]})).problem(404, "not_found")
    absent = (await bob.post("/executions", {"function": f"{ana.name}/absent:1.0.0"})).json()
    assert hidden["detail"].replace("secret", "absent") == absent["detail"]


async def test_a_function_without_version_is_the_highest_built(
    ana: ApiUser, agent: FakeAgent
) -> None:
    for version in ("1.9.0", "1.10.0"):
        await deployed(ana, agent, functionName="many", functionVersion=version)
    source = function_archive(config=config_bytes(functionName="many", functionVersion="2.0.0"))
    await ana.deploy(source)
    execution = (await ana.post("/executions", {"function": f"{ana.name}/many"})).expect(202)
    assert execution["function"] == f"{ana.name}/many:1.10.0"
    deleted = (await ana.ask("DELETE", f"/v1/functions/{ana.name}/many/1.10.0")).expect(200)
    assert [item["status"] for item in deleted["items"]] == ["deleted"]
    execution = (await ana.post("/executions", {"function": f"{ana.name}/many"})).expect(202)
    assert execution["function"] == f"{ana.name}/many:1.9.0"
