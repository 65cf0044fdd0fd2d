"""Every route against everybody. A new route without an expectation fails here."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from hermes.domain.ids import new_id
from hermes.server.routing import Route
from hermes.server.table import ROUTES
from tests.support.api import PASSWORD, Answer, Api, ApiUser
from tests.support.archives import config_bytes, function_archive
from tests.support.fake_agent import FakeAgent

from .conftest import deployed

SOURCE = function_archive(config=config_bytes(functionName="mine"))
BLOB = hashlib.sha256(b"blob").hexdigest()

# What the owner, another user and an admin who owns nothing are answered.
# The owner's things do not exist for the others; an admin is no exception.
EXPECTED: dict[str, tuple[int, int, int]] = {
    "DELETE /v1/tokens/current": (204, 204, 204),
    "GET /v1/users/me": (200, 200, 200),
    "DELETE /v1/users/me": (401, 401, 401),  # the password is wrong
    "POST /v1/functions": (202, 202, 202),
    "GET /v1/functions": (200, 200, 200),
    "GET /v1/functions/{owner}/{name}": (200, 404, 404),
    "GET /v1/functions/{owner}/{name}/{version}": (200, 404, 404),
    "DELETE /v1/functions/{owner}/{name}": (200, 404, 404),
    "DELETE /v1/functions/{owner}/{name}/{version}": (200, 404, 404),
    "POST /v1/builds": (202, 202, 202),
    "GET /v1/builds/{id}": (200, 404, 404),
    "GET /v1/builds/{id}/tail": (200, 404, 404),
    "PUT /v1/blobs/{sha256}": (201, 201, 201),
    "POST /v1/executions": (202, 404, 404),
    "GET /v1/executions": (200, 200, 200),
    "GET /v1/executions/{id}": (200, 404, 404),
    "POST /v1/executions/{id}/cancel": (202, 404, 404),
    "GET /v1/executions/{id}/events": (200, 404, 404),
    "GET /v1/executions/{id}/output/{stream}": (200, 404, 404),
    "GET /v1/executions/{id}/tail": (200, 404, 404),
    "GET /v1/agents": (200, 200, 200),
    "GET /v1/gpus": (200, 200, 200),
    "GET /v1/audit/gpus": (403, 403, 200),
    "GET /v1/projections": (403, 403, 200),
    "POST /v1/projections/{name}/rebuild": (403, 403, 404),
}
OPEN = {
    "POST /v1/users": 400,
    "POST /v1/tokens": 400,
    "GET /livez": 200,
    "GET /readyz": 200,
    "GET /metrics": 200,
    "GET /v1/openapi.json": 200,
}


class Belongings:
    """A private function of the owner's, one of its executions, and a build."""

    def __init__(self, function: dict[str, Any], execution_id: str, build_id: str) -> None:
        self.function = function
        self.execution_id = execution_id
        self.build_id = build_id

    async def ask(self, who: ApiUser, route: Route, token: str | None = None) -> Answer:
        """The route, aimed at these things, with everything else in order."""
        place = {
            "owner": self.function["owner"],
            "name": self.function["name"] if "functions" in route.path else "no-such-view",
            "version": self.function["version"],
            "id": self.build_id if "builds" in route.path else self.execution_id,
            "stream": "stdout",
            "sha256": BLOB,
        }
        path = route.path.format(**place)
        options: dict[str, Any] = {}
        if route.name in ("POST /v1/functions", "POST /v1/builds"):
            options = {"data": SOURCE, "headers": {"Content-Type": "application/gzip"}}
        elif route.name == "PUT /v1/blobs/{sha256}":
            options = {"data": b"blob"}
        elif route.name == "POST /v1/executions":
            options = {"json": {"function": self.function["id"]}}
        elif route.name == "DELETE /v1/users/me":
            options = {"json": {"password": "not the password"}}
        if route.streams:
            path += "?follow=false"
        asking = who if token is None else ApiUser(who.api, token=token)
        return await asking.ask(route.method, path, **options)


async def belongings(owner: ApiUser, agent: FakeAgent, number: int) -> Belongings:
    function = await deployed(owner, agent, functionName=f"private-{number}", scope="private")
    execution = (await owner.post("/executions", {"function": function["id"]})).expect(202)
    answer = await owner.ask(
        "POST", "/v1/builds", data=SOURCE, headers={"Content-Type": "application/gzip"}
    )
    return Belongings(function, execution["id"], answer.expect(202)["id"])


PROTECTED = [route for route in ROUTES if route.auth != "none"]


def test_every_route_has_an_expectation() -> None:
    assert {route.name for route in ROUTES} == EXPECTED.keys() | OPEN.keys()


@pytest.mark.parametrize("name", OPEN)
async def test_an_open_route_asks_for_no_token(api: Api, name: str) -> None:
    method, path = name.split()
    assert (await api.nobody.ask(method, path)).status == OPEN[name]


@pytest.mark.parametrize("route", PROTECTED, ids=lambda route: route.name)
async def test_nobody_gets_in_without_a_valid_token(api: Api, route: Route) -> None:
    nothing = Belongings(
        {"owner": "a", "name": "b", "version": "1.0.0", "id": "a/b"}, new_id(), "0"
    )
    for token in ("", "hms_wrong", "x" * 5000, "ü"):
        answer = await nothing.ask(api.nobody, route, token)
        answer.problem(401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_every_route_is_open_to_whom_it_should_be(api: Api, agent: FakeAgent) -> None:
    everybody = [await api.user(), await api.user(), ApiUser(api, "first")]
    found: dict[str, tuple[int, ...]] = {}
    for number, route in enumerate(PROTECTED):
        if number == 0 or PROTECTED[number - 1].name == "DELETE /v1/tokens/current":
            for user in everybody:
                credentials = {"username": user.name, "password": PASSWORD}
                user.token = (await api.nobody.post("/tokens", credentials)).expect(201)["token"]
        things = await belongings(everybody[0], agent, number)
        # The owner last: some of these routes take the thing away.
        answers = [await things.ask(user, route) for user in reversed(everybody)]
        found[route.name] = tuple(answer.status for answer in reversed(answers))
        for answer in answers[:2]:
            if answer.status == 404:
                answer.problem(404, "not_found")
    assert found == EXPECTED


async def test_a_revoked_token_and_a_deleted_user_are_nobody(api: Api) -> None:
    user = await api.user()
    assert (await user.ask("DELETE", "/v1/tokens/current")).status == 204
    (await user.get("/users/me")).problem(401, "unauthenticated")

    again = await api.nobody.post("/tokens", {"username": user.name, "password": PASSWORD})
    user.token = again.expect(201)["token"]
    wrong = await user.ask("DELETE", "/v1/users/me", json={"password": "wrong password"})
    wrong.problem(401, "invalid_credentials")
    gone = await user.ask("DELETE", "/v1/users/me", json={"password": PASSWORD})
    assert gone.status == 204
    (await user.get("/users/me")).problem(401, "unauthenticated")
    login = await api.nobody.post("/tokens", {"username": user.name, "password": PASSWORD})
    login.problem(401, "invalid_credentials")
    taken = await api.nobody.post("/users", {"username": user.name, "password": PASSWORD})
    taken.problem(409, "already_exists")
