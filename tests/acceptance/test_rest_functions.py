"""Functions and builds over REST."""

from __future__ import annotations

import base64

import pytest

from tests.acceptance.rest import (
    GZIP,
    Rest,
    archive,
    built,
    shell_files,
    source,
)


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
