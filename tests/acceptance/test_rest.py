"""What holds for every route: tokens, problems, lists, reading after writing."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.acceptance.rest import (
    NOWHERE,
    SHELL,
    Rest,
)
from tests.support.system import System, User


def test_what_needs_no_token(nobody: Rest) -> None:
    for path in ("/livez", "/readyz"):
        assert nobody.ask("GET", path).json(200) == {"status": "ok"}
    assert b"hermes_" in nobody.ask("GET", "/metrics").body
    document = nobody.get("/openapi.json").json(200)
    assert document["openapi"].startswith("3.")
    assert "/v1/executions/{id}/tail" in document["paths"]


def test_routes_and_methods_that_are_not_there(rest: Rest, nobody: Rest) -> None:
    rest.get("/nothing").problem(404, "not_found")
    nobody.ask("GET", "/nothing").problem(404, "not_found")
    answer = rest.ask("PUT", "/v1/executions")
    answer.problem(405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET,HEAD,POST"


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
