"""Whatever is sent, the answer is a problem, and the server serves on."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import re
from typing import Any

import pytest
from yarl import URL

from hermes.server.routing import Route
from hermes.server.table import ROUTES
from tests.support.api import PASSWORD, Api, ApiUser
from tests.support.archives import config_bytes, function_archive

JSON_ROUTES = [r for r in ROUTES if r.body and r.body.content_type == "application/json"]
DEEP = b"[" * 100_000
BAD_JSON = {
    "nothing": b"",
    "not JSON": b"{",
    "an array": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "a repeated key": b'{"username": "a", "username": "b"}',
    "a repeated key inside": b'{"gpu": {"count": 1, "count": 2}}',
    "NaN": b'{"timeout": NaN}',
    "infinity": b'{"timeout": -Infinity}',
    "nested deeply": DEEP,
    "an object nested deeply": b'{"a":' * 50_000,
    "not UTF-8": b'{"username": "\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"username": "x"}'.encode("utf-16"),
}


@pytest.fixture(scope="module")
async def user(api: Api) -> ApiUser:
    return await api.user()


@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON.keys())
@pytest.mark.parametrize("route", JSON_ROUTES, ids=lambda route: route.name)
async def test_json_that_is_not_strict_is_refused(user: ApiUser, route: Route, body: bytes) -> None:
    answer = await user.ask(route.method, route.path, data=body)
    assert answer.status in (400, 413)
    assert answer.json()["type"].startswith("urn:hermes:problem:")


@pytest.mark.parametrize("route", [r for r in ROUTES if r.body], ids=lambda route: route.name)
async def test_a_compressed_body_is_refused(user: ApiUser, route: Route) -> None:
    place = {"sha256": "0" * 64}
    headers = {"Content-Encoding": "gzip", "Content-Type": route.body.content_type}  # type: ignore[union-attr]
    answer = await user.ask(
        route.method, route.path.format(**place), data=gzip.compress(b"{}"), headers=headers
    )
    answer.problem(415, "unsupported_media_type")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/executions/%00",
        "/v1/executions/%ff",
        "/v1/executions/..%2f..%2fetc",
        "/v1/executions/" + "a" * 5000,
        "/v1/executions/';%20DROP%20TABLE%20x--",
        "/v1/functions/%00/x",
        "/v1/functions/a%0ab/x/1.0.0",
        "/v1/builds/%ed%a0%80",
        "/v1/no-such-route",
        "/v1/executions/01/output/stdin",
    ],
)
async def test_a_strange_path_is_not_found(user: ApiUser, path: str) -> None:
    async with user.api.session.get(
        URL(user.api.url + path, encoded=True), headers=user.headers()
    ) as response:
        assert response.status == 404
        assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    [
        "/executions?limit=0",
        "/executions?limit=201",
        "/executions?limit=x",
        "/executions?limit=1&limit=2",
        "/executions?status=unknown",
        "/executions?kind=other",
        "/executions?since=yesterday",
        "/executions?until=2026-01-01",
        "/executions?since=0001-01-01T00:00:00%2B23:59",
        "/executions?until=9999-12-31T23:59:59-23:59",
        "/executions?function=a%00b",
        "/functions?status=unknown",
        "/functions?owner=%00",
        "/agents?limit=-1",
    ],
)
async def test_a_wrong_parameter_is_refused(user: ApiUser, query: str) -> None:
    (await user.get(query)).problem(400, "invalid_request")


@pytest.mark.parametrize("path", ["/executions", "/functions", "/agents", "/gpus"])
async def test_a_cursor_that_is_not_ours_is_refused(user: ApiUser, path: str) -> None:
    for cursor in ("x", "%00", "A" * 5000, "1-0000000000000000"):
        (await user.get(f"{path}?cursor={cursor}")).problem(400, _code(cursor))


async def test_a_cursor_that_is_made_up_to_fit_is_refused(
    ana: ApiUser, function: dict[str, Any]
) -> None:
    # Its digest holds no secret, so anybody can write one; the place in it is not of this world.
    place = b'{"created_at": "2030-01-01T00:00:00Z", "key": "\\u0000", "version": ""}'
    run = (await ana.post("/executions", {"function": function["id"]})).expect(202)
    seen = await ana.get(f"/executions/{run['id']}/tail?follow=false")
    owner_id = re.search(rb'"owner_id":"([^"]+)"', seen.body)
    assert owner_id is not None
    scope = repr(("functions", owner_id[1].decode(), None, None, None)).encode()
    digest = hashlib.sha256(scope + b"\n" + place).digest()[:8]
    cursor = base64.urlsafe_b64encode(digest + place).decode().rstrip("=")
    (await ana.get(f"/functions?cursor={cursor}")).problem(400, "invalid_request")


def _code(cursor: str) -> str:
    return "invalid_request" if cursor == "%00" else "invalid_cursor"


async def test_a_position_that_is_never_reached_is_answered_in_time(
    api: Api, user: ApiUser
) -> None:
    for bad in ("x", "a/b/c", "t/0/" + "9" * 30, "/".join("abc") + ","):
        answer = await user.get("/executions", headers={"Hermes-After": bad})
        answer.problem(400, "invalid_request")
    far = f"{api.settings.topic_prefix}.registry/0/999999"
    answer = await user.get("/executions", headers={"Hermes-After": far})
    answer.problem(412, "position_not_reached")


async def test_a_wrong_method_names_the_right_ones(user: ApiUser) -> None:
    answer = await user.ask("PATCH", "/v1/executions")
    answer.problem(405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    ("credentials", "field"),
    [
        ({"username": "Ana", "password": PASSWORD}, "username"),
        ({"username": "-a", "password": PASSWORD}, "username"),
        ({"username": "ana\n", "password": PASSWORD}, "username"),
        ({"username": "a" * 40, "password": PASSWORD}, "username"),
        ({"username": "anä", "password": PASSWORD}, "username"),
        ({"username": 7, "password": PASSWORD}, "username"),
        ({"password": PASSWORD}, "username"),
        ({"username": "ana"}, "password"),
        ({"username": "ana", "password": "short"}, "password"),
        ({"username": "ana", "password": "x" * 129}, "password"),
        ({"username": "ana", "password": "é" * 65}, "password"),
        ({"username": "ana", "password": ["x" * 12]}, "password"),
    ],
)
async def test_credentials_that_break_a_rule_are_named(
    api: Api, credentials: dict[str, Any], field: str
) -> None:
    problem = (await api.nobody.post("/users", credentials)).problem(422, "invalid_input")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_guessing_a_password_is_slowed_down(api: Api, user: ApiUser) -> None:
    wrong = {"username": user.name, "password": "not the password"}
    answers = [await api.nobody.post("/tokens", wrong) for _ in range(8)]
    assert answers[0].status == 401
    limited = next(answer for answer in answers if answer.status == 429)
    limited.problem(429, "rate_limited")
    assert int(limited.headers["Retry-After"]) >= 1
    nobody = {"username": "nobody-of-this-name", "password": "not the password"}
    unknown = await api.nobody.post("/tokens", nobody)
    unknown.problem(401, "invalid_credentials")
    assert unknown.json()["detail"] == answers[0].json()["detail"]


@pytest.mark.parametrize(
    ("source", "content_type", "status", "code"),
    [
        (b"", "application/gzip", 422, "invalid_archive"),
        (b"not gzip", "application/gzip", 422, "invalid_archive"),
        (gzip.compress(b"not tar"), "application/gzip", 422, "invalid_archive"),
        (function_archive(), "application/json", 415, "unsupported_media_type"),
        (function_archive(config=b"{}"), "application/gzip", 422, "invalid_config"),
        (
            function_archive(config=config_bytes(limits={"memory": 1 << 60})),
            "application/gzip",
            422,
            "invalid_config",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v1/functions", "/v1/builds"])
async def test_a_bad_source_is_refused(
    user: ApiUser, path: str, source: bytes, content_type: str, status: int, code: str
) -> None:
    answer = await user.ask("POST", path, data=source, headers={"Content-Type": content_type})
    problem = answer.problem(status, code)
    assert problem["errors"] or status == 415


async def test_a_body_longer_than_allowed_is_cut_off(api: Api, user: ApiUser) -> None:
    headers = {"Content-Type": "application/gzip", "Content-Length": str(51 * 2**20)}
    head = "".join(f"{k}: {v}\r\n" for k, v in {**user.headers(), **headers}.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(f"POST /v1/functions HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.close()
    assert b" 413 " in answer.splitlines()[0]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET /v1/users/me HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_a_request_that_is_not_http_gets_a_problem(api: Api, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(request_bytes)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith(b"HTTP/1."), answer[:100]
    assert b" 400 " in answer.splitlines()[0]
    assert b"application/problem+json" in answer
    assert b"Traceback" not in answer


async def test_secrets_stay_out_of_the_log(api: Api, user: ApiUser) -> None:
    await user.get("/executions?cursor=" + user.token)
    log = api.log("hermes.server")
    assert "hms_" not in log
    assert PASSWORD not in log
    assert "Traceback" not in log
