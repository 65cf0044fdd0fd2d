"""The REST interface: statuses, headers and problems of every route."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.acceptance.rest import GZIP, SHELL, Answer, Rest, archive, built, shell_files, source
from tests.support.system import PASSWORD, System, User

_numbers = itertools.count(1)
NOWHERE = "01890000-0000-7000-8000-000000000000"


def register(nobody: Rest, name: str) -> Rest:
    session = nobody.post("/users", {"username": name, "password": PASSWORD}).json(201)
    return Rest(nobody.url, session["token"])


def new_id() -> str:
    moment = int(time.time() * 1000) << 80
    return str(UUID(int=moment | (7 << 76) | (2 << 62) | next(_numbers)))


def test_what_needs_no_token(nobody: Rest) -> None:
    for path in ("/livez", "/readyz"):
        assert nobody.ask("GET", path).json(200) == {"status": "ok"}
    assert b"hermes_" in nobody.ask("GET", "/metrics").body
    document = nobody.get("/openapi.json").json(200)
    assert document["openapi"].startswith("3.")
    assert "/v1/executions/{id}/tail" in document["paths"]


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ({"username": "Capital", "password": PASSWORD}, 422, "invalid_input"),
        ({"username": "-dash", "password": PASSWORD}, 422, "invalid_input"),
        ({"username": "x" * 40, "password": PASSWORD}, 422, "invalid_input"),
        ({"username": "new\n", "password": PASSWORD}, 422, "invalid_input"),
        ({"username": "shortpass", "password": "x" * 11}, 422, "invalid_input"),
        ({"username": "longpass", "password": "é" * 65}, 422, "invalid_input"),
        ({"username": "nopass"}, 422, "invalid_input"),
        ({"username": "sue", "password": PASSWORD}, 409, "already_exists"),
        ([], 400, "invalid_request"),
    ],
)
def test_an_account_that_is_refused(nobody: Rest, document: Any, status: int, code: str) -> None:
    nobody.post("/users", document).problem(status, code)


def test_an_account_lives_from_its_registration_to_its_deletion(nobody: Rest) -> None:
    name = f"brief-{next(_numbers)}"
    credentials = {"username": name, "password": PASSWORD}
    session = nobody.post("/users", credentials).json(201)
    assert (session["user"]["username"], session["user"]["admin"]) == (name, False)
    session = nobody.post("/tokens", credentials).json(201)
    assert session["expires_at"].endswith("Z")
    user = Rest(nobody.url, session["token"])
    wrong = {"username": name, "password": "not the right password"}
    assert nobody.post("/tokens", wrong).problem(401, "invalid_credentials")["errors"] == []
    unknown = {"username": "nobody-at-all", "password": "not the right password"}
    nobody.post("/tokens", unknown).problem(401, "invalid_credentials")
    second = Rest(nobody.url, nobody.post("/tokens", credentials).json(201)["token"])
    assert second.ask("DELETE", "/v1/tokens/current").status == 204
    second.get("/users/me").problem(401, "unauthenticated")
    assert user.get("/users/me").json(200)["username"] == name
    refused = user.ask("DELETE", "/v1/users/me", document={"password": "not the right password"})
    refused.problem(401, "invalid_credentials")
    gone = user.ask("DELETE", "/v1/users/me", document={"password": PASSWORD})
    assert (gone.status, gone.body) == (204, b"")
    user.get("/users/me").problem(401, "unauthenticated")
    nobody.post("/tokens", credentials).problem(401, "invalid_credentials")
    nobody.post("/users", credentials).problem(409, "already_exists")


def test_a_deleted_owners_functions_are_gone_and_not_taken_over(nobody: Rest, rest: Rest) -> None:
    name = f"leaver-{next(_numbers)}"
    leaver = register(nobody, name)
    leaver.deploy(source(scope="public")).json(202)
    built(leaver, f"/functions/{name}/shell/1.0.0")
    rest.get(f"/functions/{name}/shell/1.0.0").json(200)
    leaver.ask("DELETE", "/v1/users/me", document={"password": PASSWORD})
    rest.get(f"/functions/{name}/shell/1.0.0").problem(404, "not_found")
    rest.post("/executions", {"function": f"{name}/shell"}).problem(404, "not_found")


def test_what_a_deleted_user_left_running_is_ended(nobody: Rest, rest: Rest) -> None:
    leaver = register(nobody, f"runner-{next(_numbers)}")
    running = leaver.run("sleep 600")["id"]
    leaver.when(running, "running")
    leaver.ask("DELETE", "/v1/users/me", document={"password": PASSWORD})
    eventually(lambda: running not in rest.get("/agents").json(200)["items"][0]["running"])


def test_routes_and_methods_that_are_not_there(rest: Rest, nobody: Rest) -> None:
    rest.get("/nothing").problem(404, "not_found")
    nobody.ask("GET", "/nothing").problem(404, "not_found")
    answer = rest.ask("PUT", "/v1/executions")
    answer.problem(405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET,POST"


@pytest.mark.parametrize(
    "path",
    [
        "/users/me",
        "/functions",
        "/functions/sue/shell",
        "/executions",
        f"/executions/{NOWHERE}",
        f"/executions/{NOWHERE}/tail",
        "/agents",
        "/gpus",
        "/projections",
    ],
)
def test_nothing_is_shown_without_a_token(nobody: Rest, path: str) -> None:
    answer = nobody.get(path)
    answer.problem(401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    Rest(nobody.url, "hms_wrong").get(path).problem(401, "unauthenticated")


def test_a_function_is_registered_built_found_deleted_and_registered_again(rest: Rest) -> None:
    path = "/functions/sue/cycle/1.0.10"
    answer = rest.deploy(source("cycle", "1.0.10", scope="private", limits={"time": 5}))
    function = answer.json(202)
    assert answer.headers["Location"] == f"/v1{path}"
    assert answer.headers["Hermes-Position"].startswith("hermes.registry/0/")
    assert function["status"] == "registered"
    found = rest.get(path, Hermes_After=answer.headers["Hermes-Position"]).json(200)
    assert found["limits"]["time"] == 5
    rest.deploy(source("cycle", "1.0.10")).problem(409, "already_exists")
    first = built(rest, path)
    rest.deploy(source("cycle", "1.0.9", scope="private")).json(202)
    versions = rest.get("/functions/sue/cycle").json(200)["items"]
    assert [one["version"] for one in versions] == ["1.0.9", "1.0.10"]  # newest first
    assert rest.get("/functions?owner=sue&name=cycle").json(200)["items"] == versions
    built(rest, "/functions/sue/cycle/1.0.9")
    accepted = rest.post("/executions", {"function": "sue/cycle", "input": "exit 0"}).json(202)
    assert accepted["function"] == "sue/cycle:1.0.10"  # the highest, not the newest

    answer = rest.ask("DELETE", f"/v1{path}")
    [deleted] = answer.json(200)["items"]
    assert (deleted["id"], deleted["status"]) == ("sue/cycle:1.0.10", "deleted")
    after = answer.headers["Hermes-Position"]
    rest.get(path, Hermes_After=after).problem(404, "not_found")
    rest.ask("DELETE", f"/v1{path}").problem(404, "not_found")
    rest.post("/executions", {"function": "sue/cycle:1.0.10"}).problem(404, "not_found")
    kept = rest.get("/functions?name=cycle&status=deleted").json(200)["items"]
    assert [one["id"] for one in kept] == ["sue/cycle:1.0.10"]

    rest.deploy(source("cycle", "1.0.10", limits={"time": 7})).json(202)
    again = built(rest, path)
    assert again["limits"]["time"] == 7
    assert again["build_id"] != first["build_id"]
    both = rest.ask("DELETE", "/v1/functions/sue/cycle").json(200)["items"]
    assert {one["version"] for one in both} == {"1.0.9", "1.0.10"}
    rest.get("/functions/sue/cycle").problem(404, "not_found")


def test_a_failed_build_says_why_and_its_version_may_be_registered_again(rest: Rest) -> None:
    files = shell_files("broken") | {"Makefile": b"all:\n\techo boom >&2; exit 3\n\nclean:\n"}
    rest.deploy(archive(files)).json(202)
    function = built(rest, "/functions/sue/broken/1.0.0", "build_failed")
    assert function["error"]
    assert function["artifact_sha256"] is None
    rest.post("/executions", {"function": "sue/broken:1.0.0"}).problem(409, "not_built")
    frames = list(rest.frames(f"/builds/{function['build_id']}/tail"))
    log = b"".join(base64.b64decode(f.data["data"]) for f in frames if f.event == "output")
    assert b"boom" in log
    assert frames[-1].data["outcome"] == "failed"
    rest.deploy(source("broken")).json(202)
    built(rest, "/functions/sue/broken/1.0.0")


@pytest.mark.parametrize(
    ("files", "field"),
    [
        (shell_files(limits={"time": 1e9}), "limits.time"),
        (shell_files(limits={"time": 0}), "limits.time"),
        (shell_files(limits={"memory": 1 << 60}), "limits.memory"),
        (shell_files(limits={"colour": 1}), "limits.colour"),
        (shell_files(gpu={"count": 1}), "gpu"),
        (shell_files("Shell"), "functionName"),
        (shell_files(version="1.0"), "functionVersion"),
        (shell_files(version="01.0.0"), "functionVersion"),
        (shell_files(language="perl"), "language"),
        (shell_files(handler="../../bin/sh"), "handler"),
        (shell_files(handler="/bin/sh"), "handler"),
        (shell_files(scope="secret"), "scope"),
        (shell_files(nope=1), "nope"),
    ],
)
def test_a_config_that_breaks_a_rule_is_refused_by_its_field(
    rest: Rest, files: dict[str, bytes], field: str
) -> None:
    problem = rest.deploy(archive(files)).problem(422, "invalid_config")
    assert field in [error["field"] for error in problem["errors"]]


@pytest.mark.parametrize(
    "config", [b"{", b"[]", b'{"handler": "a", "handler": "a"}', b"\xff", b" " * 65537]
)
def test_a_config_that_is_no_such_object_is_refused(rest: Rest, config: bytes) -> None:
    files = shell_files() | {"hermes.config.json": config}
    rest.deploy(archive(files)).problem(422, "invalid_config")


def test_bodies_that_are_no_function_are_refused(rest: Rest) -> None:
    without = shell_files()
    del without["Makefile"]
    leaving = shell_files() | {"../outside": b""}
    for body in (b"", b"no gzip", archive({}), archive(without), archive(leaving)):
        rest.deploy(body).problem(422, "invalid_archive")
    answer = rest.ask("POST", "/v1/functions", body=source(), Content_Type="application/zip")
    answer.problem(415, "unsupported_media_type")
    answer = rest.ask("POST", "/v1/functions", body=source(), **GZIP, Content_Encoding="gzip")
    answer.problem(415, "unsupported_media_type")
    rest.deploy(bytes(50 * 1024 * 1024 + 1)).problem(413, "too_large")


def test_a_source_is_built_without_being_registered(rest: Rest, toms_rest: Rest) -> None:
    answer = rest.ask("POST", "/v1/builds", body=source("only-built"), **GZIP)
    build = answer.json(202)
    assert build["kind"] == "build"
    frames = list(rest.frames(f"/builds/{build['id']}/tail"))
    assert frames[-1].data["outcome"] == "succeeded"
    assert rest.get(f"/builds/{build['id']}").json(200)["artifact_sha256"]
    rest.get("/functions/sue/only-built").problem(404, "not_found")
    toms_rest.get(f"/builds/{build['id']}").problem(404, "not_found")


def test_a_private_function_does_not_exist_for_others(rest: Rest, toms_rest: Rest) -> None:
    rest.deploy(source("secret", scope="private")).json(202)
    built(rest, "/functions/sue/secret/1.0.0")
    toms_rest.get("/functions/sue/secret").problem(404, "not_found")
    toms_rest.get("/functions/sue/secret/1.0.0").problem(404, "not_found")
    toms_rest.post("/executions", {"function": "sue/secret"}).problem(404, "not_found")
    toms_rest.ask("DELETE", "/v1/functions/sue/secret").problem(404, "not_found")
    assert toms_rest.get("/functions?name=secret").json(200)["items"] == []
    # A public one is there for them, but not theirs to delete.
    toms_rest.get("/functions/sue/shell/1.0.0").json(200)
    toms_rest.ask("DELETE", "/v1/functions/sue/shell").problem(403, "forbidden")
    toms_rest.ask("DELETE", "/v1/functions/sue/shell/1.0.0").problem(403, "forbidden")


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


def eventually(holds: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_lists_are_newest_first_and_cut_into_pages(rest: Rest) -> None:
    ids = [rest.run("exit 0")["id"] for _ in range(3)]
    last = rest.finished(ids[-1])
    after = "/".join(
        str(last["positions"]["requested"][k]) for k in ("topic", "partition", "offset")
    )
    first = rest.get("/executions?limit=2", Hermes_After=after).json(200)
    assert [one["id"] for one in first["items"]] == [ids[2], ids[1]]
    second = rest.get(f"/executions?limit=1&cursor={first['next_cursor']}").json(200)
    assert second["items"][0]["id"] == ids[0]
    for query in ("limit=0", "limit=201", "limit=x"):
        rest.get(f"/executions?{query}").problem(400, "invalid_request")
    for path in ("/executions", "/functions", f"/executions/{ids[0]}/events"):
        rest.get(f"{path}?cursor=made-up").problem(400, "invalid_cursor")


def test_executions_are_filtered(rest: Rest) -> None:
    rest.finished(rest.run("exit 1")["id"])
    rest.finished(rest.run("exit 0")["id"])

    def found(query: str) -> list[Any]:
        return list(rest.get(f"/executions?limit=200&{query}").json(200)["items"])

    assert {one["outcome"] for one in found("status=failed")} == {"failed"}
    assert {one["outcome"] for one in found("status=failed&status=succeeded")} == {
        "failed",
        "succeeded",
    }
    assert {one["status"] for one in found("status=finished")} == {"finished"}
    assert found("function=sue/shell")
    assert found("function=sue/shell:1.0.0")
    assert found("function=sue/other") == []
    assert found("until=2020-01-01T00:00:00Z") == []
    assert found("since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00Z")
    assert found("since=2100-01-01T00:00:00Z") == []
    for query in ("status=odd", "since=yesterday"):
        rest.get(f"/executions?{query}").problem(400, "invalid_request")


def test_a_read_waits_for_a_position_and_gives_up_after_a_while(rest: Rest) -> None:
    answer = rest.post("/executions", {"function": SHELL, "input": "exit 0"})
    position = answer.headers["Hermes-Position"]
    execution = answer.json(202)["id"]
    for path in (f"/executions/{execution}", f"/executions/{execution}/events"):
        rest.get(path, Hermes_After=position).json(200)
    newest = rest.get("/executions?limit=1", Hermes_After=f"{position},hermes.registry/0/0")
    assert newest.json(200)["items"][0]["id"] == execution
    began = time.monotonic()
    answer = rest.get("/executions", Hermes_After="hermes.executions.default/0/999999999")
    answer.problem(412, "position_not_reached")
    assert 4 < time.monotonic() - began < 30
    for wrong in ("x", "hermes.executions.default/0", "a/b/c"):
        rest.get("/executions", Hermes_After=wrong).problem(400, "invalid_request")


def test_projections_are_the_admins(rest: Rest, admin: User, system: System) -> None:
    rest.get("/projections").problem(403, "forbidden")
    rest.post("/projections/executions/rebuild").problem(403, "forbidden")
    chief = Rest(system.url, admin.token)
    items = chief.get("/projections").json(200)["items"]
    assert {"executions", "functions"} <= {one["name"] for one in items}
    for one in items:
        assert set(one) >= {"name", "status", "lag", "error"}
        assert (one["status"], one["error"]) == ("running", None)
    chief.post("/projections/unknown/rebuild").problem(404, "not_found")
    assert chief.post("/projections/functions/rebuild").json(202)["name"] == "functions"


def test_a_login_that_is_tried_too_often_has_to_wait(nobody: Rest) -> None:
    name = f"guessed-{next(_numbers)}"
    register(nobody, name)
    answers = []
    for number in range(30):
        guess = {"username": name, "password": f"wrong password {number}"}
        answers.append(nobody.post("/tokens", guess))
        if answers[-1].status == 429:
            break
    answers[-1].problem(429, "rate_limited")
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert json.loads(answers[0].body)["status"] == 401
