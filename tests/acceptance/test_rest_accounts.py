"""Accounts over REST, from registration to deletion."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.acceptance.rest import (
    Rest,
    built,
    eventually,
    register,
    source,
)
from tests.support.system import PASSWORD

_numbers = itertools.count(1)


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
