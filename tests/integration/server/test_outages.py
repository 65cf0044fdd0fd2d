"""Stops, kills, a database that is away, and clients that do not read."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
import psutil
import pytest

from hermes.domain import events as ev
from hermes.domain.resources import GIB, Gpu, Inventory
from hermes.server.tails.journal import KEEP_ENDED
from tests.support.api import PASSWORD, Api, settings_for
from tests.support.cluster import Cluster
from tests.support.fake_agent import FakeAgent

from .conftest import deployed
from .test_tails import frames, output, run

MIB = 1024 * 1024


@pytest.fixture
async def own(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Api]:
    """An API that a test may end."""
    database = await asyncio.to_thread(cluster.new_database)
    async with Api(settings_for(cluster.kafka, database, tmp_path)) as running:
        yield running


@pytest.fixture
async def its_agent(own: Api) -> AsyncIterator[FakeAgent]:
    async with FakeAgent(own.settings) as playing:
        yield playing


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_tail_goes_on_after_the_server_was_stopped(
    own: Api, its_agent: FakeAgent, how: signal.Signals
) -> None:
    user = await own.user()
    function = await deployed(user, its_agent)
    execution_id = await run(user, function)
    path = f"/executions/{execution_id}/tail"
    started = await its_agent.starts(execution_id)
    await its_agent.writes(execution_id, b"before", after=started)
    seen = []
    with contextlib.suppress(aiohttp.ClientPayloadError):
        async for frame in user.tail(path):
            seen.append(frame)
            if frame.event == "output":
                began = time.monotonic()
                status = await own.stop("hermes.server", how)
                assert time.monotonic() - began < 5
                assert status == (0 if how == signal.SIGTERM else -how)
    assert seen[-1].event == "output"
    await its_agent.writes(execution_id, b" and after", after=started)
    await its_agent.finishes(execution_id)
    await own.start("hermes.server")
    seen += await frames(user, path, **{"Last-Event-ID": seen[-1].token})
    assert output(seen) == b"before and after"
    assert [f.token for f in seen] == [f.token for f in await frames(user, path)]
    assert "Traceback" not in own.log("hermes.server")


async def test_nobody_is_let_in_while_the_accounts_are_away(own: Api) -> None:
    user = await own.user()
    await own.stop("projections.projector", signal.SIGKILL)
    parts = urlsplit(own.settings.database_url)
    name = parts.path.removeprefix("/")
    other = await asyncpg.connect(urlunsplit(parts._replace(path="/hermes")))
    try:
        await other.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        await other.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        for path in ("/users/me", "/executions", "/functions"):
            answer = await user.get(path)
            assert answer.status == 503, own.log("hermes.server")
            answer.problem(503, "unavailable")
        credentials = {"username": user.name, "password": "not the password"}
        (await own.nobody.post("/tokens", credentials)).problem(503, "unavailable")
        assert (await own.nobody.ask("GET", "/readyz")).status == 503
        assert (await own.nobody.ask("GET", "/livez")).status == 200
    finally:
        await other.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
        await other.close()
    assert (await user.get("/users/me")).status == 200
    assert (await own.nobody.ask("GET", "/readyz")).status == 200


async def test_agents_and_their_gpus_are_told_without_the_views(
    own: Api, its_agent: FakeAgent
) -> None:
    user = await own.user()
    await own.stop("projections.projector", signal.SIGKILL)
    for number in range(10):
        gpu = Gpu(uuid=f"GPU-{number}", name="X", memory=GIB, compute_capability="9.0", driver="1")
        inventory = Inventory(slots=1, cpus=1.0, memory=GIB, gpus=(gpu,))
        joined = await its_agent.append(
            "host", ev.AgentJoined(agent="host", incarnation=f"i{number}", inventory=inventory)
        )
        after = {"Hermes-After": f"{own.settings.topic_prefix}.executions.default/0/{joined}"}
        for path in ("/agents", "/gpus"):
            answer = (await user.get(path, headers=after)).body
            assert f"GPU-{number}".encode() in answer
    (await user.get("/functions", headers=after)).problem(412, "position_not_reached")


async def test_a_client_that_does_not_read_holds_little_and_loses_nothing(
    own: Api, its_agent: FakeAgent
) -> None:
    user = await own.user()
    function = await deployed(user, its_agent)
    execution_id = await run(user, function)
    started = await its_agent.starts(execution_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", own.port, limit=2**16)
    path = f"/v1/executions/{execution_id}/tail"
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n\r\n".encode()
    )
    await reader.readuntil(b"execution.started")
    process = psutil.Process(own.pid("hermes.server"))
    before = process.memory_info().rss
    digest = hashlib.sha256()
    for number in range(160):
        data = bytes([number]) * (256 * 1024)
        digest.update(data)
        await its_agent.writes(execution_id, data, after=started)
    await its_agent.finishes(execution_id)
    await asyncio.sleep(1.0)
    assert process.memory_info().rss - before < 32 * MIB
    received = hashlib.sha256()
    tail = b""
    async with asyncio.timeout(60):
        while b"event: end" not in tail:
            line = await _line(reader)
            tail = tail[-100:] + line[:100]
            name, _, rest = line.partition(b'"data":"')
            if rest and name.startswith(b'data: {"attempt"'):
                received.update(base64.b64decode(rest.partition(b'"')[0]))
    writer.close()
    assert received.hexdigest() == digest.hexdigest()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """A line of any length, out of HTTP's chunks of which we know that they end with lines."""
    pieces = []
    while True:
        try:
            pieces.append(await reader.readuntil(b"\n"))
            return b"".join(pieces)
        except asyncio.LimitOverrunError as error:
            pieces.append(await reader.readexactly(error.consumed))


async def test_one_of_many_first_accounts_is_the_admin(own: Api) -> None:
    users = await asyncio.gather(*(own.user() for _ in range(6)))
    admins = [(await user.get("/users/me")).expect(200)["admin"] for user in users]
    assert sorted(admins) == [False] * 5 + [True]
    credentials = {"username": "same", "password": PASSWORD}
    answers = await asyncio.gather(*(own.nobody.post("/users", credentials) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]


async def test_what_ended_long_ago_is_read_from_the_views(own: Api, its_agent: FakeAgent) -> None:
    user = await own.user()
    function = await deployed(user, its_agent)
    execution_id = await run(user, function)
    started = await its_agent.starts(execution_id)
    await its_agent.writes(execution_id, b"long ago", after=started)
    await its_agent.finishes(execution_id)
    path = f"/executions/{execution_id}"
    before = [f.token for f in await frames(user, f"{path}/tail")]
    last = await its_agent.ends_others(KEEP_ENDED + 1)
    headers = {"Hermes-After": str(last)}
    for wanted in (path, path[:-8]):
        shown = (await user.get(wanted, headers=headers)).expect(200)
        assert (shown["id"], shown["outcome"]) == (execution_id, "succeeded")
    assert [f.token for f in await frames(user, f"{path}/tail")] == before
    rest = await frames(user, f"{path}/tail", **{"Last-Event-ID": before[3]})
    assert [f.token for f in rest] == before[4:]
    assert (await user.get(f"{path}/output/stdout")).body == b"long ago"
    (await user.post(f"{path}/cancel")).problem(409, "already_finished")


async def test_no_tail_waits_for_an_end_that_only_the_views_would_have(
    own: Api, its_agent: FakeAgent
) -> None:
    user = await own.user()
    function = await deployed(user, its_agent)
    execution_id = await run(user, function)
    started = await its_agent.starts(execution_id)
    path = f"/executions/{execution_id}"
    shown = f"{own.settings.topic_prefix}.executions.default/0/{started}"
    (await user.get(path, headers={"Hermes-After": shown})).expect(200)
    await own.stop("projections.projector", signal.SIGKILL)
    await its_agent.finishes(execution_id)
    last = await its_agent.ends_others(KEEP_ENDED + 1)
    async with asyncio.timeout(10):
        while (await user.get(f"{path}/tail?follow=false")).status != 503:
            await asyncio.sleep(0.1)  # the journal still has it
        (await user.get(f"{path}/tail")).problem(503, "unavailable")
    await own.start("projections.projector")
    (await user.get(path, headers={"Hermes-After": str(last)})).expect(200)
    assert (await frames(user, f"{path}/tail"))[-1].event == "end"
