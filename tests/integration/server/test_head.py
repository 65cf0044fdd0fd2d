"""HEAD: what GET answers, without the body."""

from __future__ import annotations

from typing import Any

import aiohttp

from hermes.server.table import ROUTES
from tests.support.api import Api, ApiUser
from tests.support.archives import function_archive
from tests.support.fake_agent import FakeAgent

READABLE = [route for route in ROUTES if route.method == "GET" and route.auth != "admin"]
# Their length is another one a moment later.
RESTLESS = ("/metrics", "/v1/agents")


async def ended_execution(ana: ApiUser, agent: FakeAgent, function: dict[str, Any]) -> str:
    """One with some output; every view shows it."""
    execution_id = (await ana.post("/executions", {"function": function["id"]})).expect(202)["id"]
    after = await agent.starts(execution_id)
    await agent.writes(execution_id, b"hello\n", after=after)
    await agent.finishes(execution_id)
    async for _ in ana.tail(f"/executions/{execution_id}/tail"):
        pass
    return str(execution_id)


async def test_every_route_to_read_answers_head_without_a_body(
    api: Api, ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await ended_execution(ana, agent, function)
    source = {"data": function_archive(), "headers": {"Content-Type": "application/gzip"}}
    build_id = (await ana.ask("POST", "/v1/builds", **source)).expect(202)["id"]
    # One connection for all, where a body that is sent nevertheless would be in the way.
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(api.url, connector=connector) as session:
        for route in READABLE:
            thing = build_id if "builds" in route.path else execution_id
            path = route.path.format(**{**function, "id": thing, "stream": "stdout"})
            got = await ana.ask("GET", path + ("?follow=false" if route.streams else ""))
            assert got.status in (200, 204), route.name
            async with session.head(path, headers=ana.headers()) as response:
                assert (response.status, await response.read()) == (got.status, b""), route.name
                assert response.headers["Content-Type"] == got.headers["Content-Type"], route.name
                if not route.streams and route.path not in RESTLESS:
                    assert int(response.headers["Content-Length"]) == len(got.body), route.name
    assert {route.path for route in READABLE} >= {"/livez", "/v1/executions/{id}/tail"}


async def test_head_asks_for_the_same_token(api: Api, ana: ApiUser) -> None:
    assert (await api.nobody.ask("HEAD", "/v1/executions")).status == 401
    assert (await ana.ask("HEAD", "/v1/audit/gpus")).status == 403
    assert (await ana.ask("HEAD", "/v1/users")).status == 405
