"""Executions over REST: what is accepted, found, read and cancelled."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.acceptance.rest import (
    NOWHERE,
    SHELL,
    Answer,
    Rest,
    eventually,
    new_id,
    source,
)


def test_an_execution_exists_for_its_owner_alone(rest: Rest, toms_rest: Rest) -> None:
    mine = rest.finished(rest.run("echo mine")["id"])["id"]
    for path in ("", "/events", "/output/stdout", "/tail", "/tail?follow=false"):
        toms_rest.get(f"/executions/{mine}{path}").problem(404, "not_found")
    toms_rest.post(f"/executions/{mine}/cancel").problem(404, "not_found")
    # Also for the function's owner, when somebody else ran it.
    toms = toms_rest.run("echo toms")["id"]
    assert toms_rest.finished(toms)["owner"] == "tom"
    rest.get(f"/executions/{toms}").problem(404, "not_found")
    ids = [one["id"] for one in rest.get("/executions?limit=200").json(200)["items"]]
    assert toms not in ids


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"function": None}, 422, "invalid_input"),
        ({"function": "shell"}, 422, "invalid_input"),
        ({"function": "sue/missing"}, 404, "not_found"),
        ({"function": "sue/shell:9.9.9"}, 404, "not_found"),
        ({"input": "a", "input_base64": "YQ=="}, 422, "invalid_input"),
        ({"input": 5}, 422, "invalid_input"),
        ({"input_base64": "!"}, 422, "invalid_input"),
        ({"input_blob": "0" * 64}, 422, "invalid_input"),
        ({"timeout": 0}, 422, "invalid_input"),
        ({"timeout": "5"}, 422, "invalid_input"),
        ({"timeout": 1e9}, 422, "invalid_input"),
        ({"gpu": True}, 422, "invalid_input"),
        ({"pool": "nowhere"}, 422, "invalid_input"),
    ],
)
def test_a_run_that_is_refused(rest: Rest, fields: dict[str, Any], status: int, code: str) -> None:
    rest.post("/executions", {"function": SHELL} | fields).problem(status, code)


def test_a_body_that_is_no_json_object_is_refused(rest: Rest) -> None:
    for body in (b"", b"{", b"[]", b'{"function":"a/b","function":"a/b"}', b"\xff", b"NaN"):
        answer = rest.ask("POST", "/v1/executions", body=body, Content_Type="application/json")
        answer.problem(400, "invalid_request")


@pytest.mark.parametrize("way", ["text", "base64", "blob"])
def test_an_input_comes_as_text_as_base64_or_as_a_blob(rest: Rest, way: str) -> None:
    data = "echo grüße".encode()
    fields: dict[str, Any] = {"input": data.decode()}
    if way == "base64":
        fields = {"input_base64": base64.b64encode(data).decode()}
    elif way == "blob":
        digest = hashlib.sha256(data).hexdigest()
        assert rest.ask("PUT", f"/v1/blobs/{digest}", body=data).status in (200, 201)
        assert rest.ask("PUT", f"/v1/blobs/{digest}", body=data).status == 200
        fields = {"input_blob": digest}
    accepted = rest.post("/executions", {"function": SHELL, **fields}).json(202)
    assert rest.finished(accepted["id"])["input"]["bytes"] == len(data)
    output = rest.get(f"/executions/{accepted['id']}/output/stdout")
    assert output.body.decode() == "grüße\n"


def test_a_blob_must_be_what_its_name_says(rest: Rest, toms_rest: Rest) -> None:
    digest = hashlib.sha256(b"one").hexdigest()
    rest.ask("PUT", f"/v1/blobs/{digest}", body=b"other").problem(422, "invalid_input")
    rest.ask("PUT", "/v1/blobs/short", body=b"x")
    assert rest.ask("PUT", f"/v1/blobs/{digest}", body=b"one").status == 201
    # That somebody has it is nothing that another user may find out, or use.
    fields = {"function": SHELL, "input_blob": digest}
    toms_rest.post("/executions", fields).problem(422, "invalid_input")


def test_a_long_input_in_the_request_is_told_to_go_ahead_as_a_blob(rest: Rest) -> None:
    fields = {"function": SHELL, "input": "x" * (1024 * 1024 + 1)}
    assert "blob" in rest.post("/executions", fields).problem(413, "too_large")["detail"]
    exact = {"function": SHELL, "input": "wc -c\n" + "x" * (1024 * 1024 - 6)}
    rest.finished(rest.post("/executions", exact).json(202)["id"])


def test_a_key_makes_a_request_count_once(rest: Rest, toms_rest: Rest) -> None:
    def ask(who: Rest, script: str) -> Answer:
        return who.post("/executions", {"function": SHELL, "input": script}, Idempotency_Key="k-1")

    first = ask(rest, "exit 0")
    again = ask(rest, "exit 0")
    assert again.json(202)["id"] == first.json(202)["id"]
    assert again.headers["Hermes-Position"] == first.headers["Hermes-Position"]
    ask(rest, "exit 1").problem(409, "idempotency_mismatch")
    assert ask(toms_rest, "exit 1").json(202)["id"] != first.json(202)["id"]
    for key in ("", "two words", "x" * 129, "ü"):
        fields = {"function": SHELL}
        answer = rest.post("/executions", fields, Idempotency_Key=key)
        answer.problem(400, "invalid_request")
    first = rest.deploy(source("keyed"), Idempotency_Key="k-1")
    assert first.json(202)["id"] == "sue/keyed:1.0.0"
    assert rest.deploy(source("keyed"), Idempotency_Key="k-1").json(202)["id"] == "sue/keyed:1.0.0"
    other = rest.deploy(source("keyed", "2.0.0"), Idempotency_Key="k-1")
    other.problem(409, "idempotency_mismatch")


def test_an_id_of_ones_own_makes_a_run_count_once(rest: Rest, toms_rest: Rest) -> None:
    chosen = new_id()
    assert rest.run("exit 0", id=chosen)["id"] == chosen
    assert rest.run("exit 0", id=chosen)["id"] == chosen
    for who, script in ((rest, "exit 1"), (toms_rest, "exit 0")):
        fields = {"function": SHELL, "input": script, "id": chosen}
        who.post("/executions", fields).problem(409, "already_exists")
    for wrong in ("x", 5, "6fa459ea-ee8a-4ca4-894e-db77e160355e"):
        answer = rest.post("/executions", {"function": SHELL, "id": wrong})
        assert answer.status in (400, 422)


def test_an_execution_is_found_by_a_prefix(rest: Rest) -> None:
    execution = rest.finished(rest.run("echo x")["id"])["id"]
    assert rest.get(f"/executions/{execution[:-1]}").json(200)["id"] == execution
    assert rest.get(f"/executions/{execution[:-1]}/output/stdout").body == b"x\n"
    rest.get("/executions/0").problem(400, "ambiguous_id")
    rest.get("/executions/ffff").problem(404, "not_found")
    rest.get(f"/executions/{NOWHERE}").problem(404, "not_found")


def test_an_execution_is_cancelled_once(rest: Rest) -> None:
    execution = rest.run("trap '' TERM; echo begun; sleep 600; sleep 600")["id"]
    rest.when(execution, "running")
    answer = rest.post(f"/executions/{execution}/cancel")
    assert answer.json(202)["cancel_requested_at"]
    assert answer.headers["Hermes-Position"]
    done = rest.finished(execution)
    assert (done["status"], done["outcome"]) == ("finished", "cancelled")
    assert done["cancel_requested_at"]
    rest.post(f"/executions/{execution}/cancel").problem(409, "already_finished")
    rest.post(f"/executions/{NOWHERE}/cancel").problem(404, "not_found")


def test_output_is_read_in_ranges(rest: Rest) -> None:
    execution = rest.finished(rest.run("printf 0123456789")["id"])["id"]
    path = f"/executions/{execution}/output/stdout"
    whole = rest.get(path)
    assert (whole.status, whole.body) == (200, b"0123456789")
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Content-Type"] == "application/octet-stream"
    assert whole.headers["ETag"] == f'"{hashlib.sha256(b"0123456789").hexdigest()}"'
    for asked, body, found in [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=3-5", b"345", "bytes 3-5/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=5-99", b"56789", "bytes 5-9/10"),
    ]:
        part = rest.get(path, Range=asked)
        assert (part.status, part.body) == (206, body)
        assert part.headers["Content-Range"] == found
    for asked in ("bytes=10-", "bytes=99-100", "bytes=-0"):
        beyond = rest.get(path, Range=asked)
        beyond.problem(416, "range_not_satisfiable")
        assert beyond.headers["Content-Range"] == "bytes */10"
    assert rest.get(path, If_None_Match=whole.headers["ETag"]).status == 304
    rest.get(f"/executions/{execution}/output/stdin").problem(404, "not_found")


def test_output_so_far_can_be_read_while_it_grows(rest: Rest) -> None:
    execution = rest.run("echo so far; sleep 600")["id"]
    rest.when(execution, "running")
    path = f"/executions/{execution}/output/stdout"
    eventually(lambda: rest.get(path).body == b"so far\n")
    assert "ETag" not in rest.get(path).headers
    rest.post(f"/executions/{execution}/cancel")
    rest.finished(execution)
    assert "ETag" in rest.get(path).headers
