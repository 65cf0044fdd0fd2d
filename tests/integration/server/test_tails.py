"""Tails over a real log: late, resumed, repeated, with lost attempts, and output as bytes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from typing import Any

import aiohttp
import pytest

from hermes.domain.ids import new_id
from tests.support.api import PASSWORD, Api, ApiUser, Frame
from tests.support.fake_agent import FakeAgent


async def run(user: ApiUser, function: dict[str, Any], **more: Any) -> str:
    document = {"function": function["id"], **more}
    execution: dict[str, Any] = (await user.post("/executions", document)).expect(202)
    return str(execution["id"])


async def frames(user: ApiUser, path: str, **headers: str) -> list[Frame]:
    return [frame async for frame in user.tail(path, **headers)]


def output(found: list[Frame], stream: str = "stdout") -> bytes:
    return b"".join(
        base64.b64decode(frame.data["data"])
        for frame in found
        if frame.event == "output" and frame.data["stream"] == stream
    )


async def test_a_late_client_reads_what_it_missed_and_joins_live(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    started = await agent.starts(execution_id)
    for number in range(20):
        await agent.writes(execution_id, b"%d " % number, after=started)
    found = []
    async for frame in ana.tail(f"/executions/{execution_id}/tail"):
        found.append(frame)
        if frame.event == "output" and frame.data["seq"] == 19:
            for number in range(20, 40):
                await agent.writes(execution_id, b"%d " % number, after=started)
            await agent.finishes(execution_id)
    assert output(found) == b"".join(b"%d " % number for number in range(40))
    assert [f.data["seq"] for f in found if f.event == "output"] == list(range(40))
    assert found[-1].data["complete"] is True


async def test_a_tail_resumes_behind_any_frame(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    started = await agent.starts(execution_id)
    for number in range(3):
        await agent.writes(execution_id, b"%d" % number, after=started)
    await agent.finishes(execution_id)
    path = f"/executions/{execution_id}/tail"
    whole = await frames(ana, path)
    for seen, frame in enumerate(whole):
        rest = await frames(ana, path, **{"Last-Event-ID": frame.token})
        assert [f.token for f in rest] == [f.token for f in whole[seen + 1 :]]
    later = await frames(ana, f"{path}?since=2")
    assert [f.data["seq"] for f in later if f.event == "output"] == [2]


async def test_a_resume_token_of_another_execution_is_refused(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    first, second = await run(ana, function), await run(ana, function)
    async for frame in ana.tail(f"/executions/{first}/tail"):
        token = frame.token
        break
    for bad in (token, token[:-1], token + "A", "AAAA", "\N{BULLET}".encode().decode("latin-1")):
        answer = await ana.get(f"/executions/{second}/tail", headers={"Last-Event-ID": bad})
        answer.problem(400, "invalid_cursor")


async def test_the_output_of_a_lost_attempt_is_followed_by_the_next_ones(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    started = await agent.starts(execution_id)
    await agent.writes(execution_id, b"first", after=started)
    await agent.loses(execution_id)
    await agent.writes(execution_id, b"too late", after=started)
    started = await agent.starts(execution_id, attempt=2)
    await agent.writes(execution_id, b"too late as well", after=started, attempt=1)
    await agent.writes(execution_id, b"second", after=started, attempt=2)
    await agent.finishes(execution_id, attempt=2)
    found = await frames(ana, f"/executions/{execution_id}/tail")
    assert [frame.name for frame in found] == [
        "execution.requested",
        "execution.scheduled",
        "execution.claimed",
        "execution.started",
        "output",
        "execution.attempt_lost",
        "execution.scheduled",
        "execution.claimed",
        "execution.started",
        "attempt",
        "output",
        "execution.finished",
        "end",
    ]
    assert found[9].data == {"attempt": 2, "reason": "lease_over"}
    answer = await ana.get(f"/executions/{execution_id}/output/stdout")
    assert (answer.status, answer.body) == (200, b"second")


async def test_missing_output_shows_as_a_gap(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    started = await agent.starts(execution_id)
    await agent.writes(execution_id, b"0", after=started)
    await agent.writes(execution_id, b"2", after=started, seq=2)
    agent.wrote(execution_id, last_seq=2)
    await agent.finishes(execution_id)
    found = await frames(ana, f"/executions/{execution_id}/tail")
    gaps = [frame.data for frame in found if frame.event == "gap"]
    assert gaps == [{"attempt": 1, "from_seq": 1, "to_seq": 1, "reason": "unavailable"}]
    assert found[-1].data["complete"] is False


async def test_without_follow_a_tail_shows_what_is_there(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    path = f"/executions/{execution_id}/tail?follow=false"
    assert [f.name for f in await frames(ana, path)] == ["execution.requested"]
    started = await agent.starts(execution_id)
    await agent.writes(execution_id, b"so far", after=started)
    found = await frames(ana, path)
    assert output(found) == b"so far"
    assert found[-1].event == "output"
    await agent.finishes(execution_id)
    assert (await frames(ana, path))[-1].event == "end"


async def test_many_listeners_and_readers_afterwards_see_the_same(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    path = f"/executions/{execution_id}/tail"
    listening = [asyncio.create_task(frames(ana, path)) for _ in range(30)]
    started = await agent.starts(execution_id)
    data = bytes(range(256)) * 1024
    for _ in range(8):
        await agent.writes(execution_id, data, after=started)
    await agent.finishes(execution_id)
    seen = [[f.token for f in found] for found in await asyncio.gather(*listening)]
    after = [f.token for f in await frames(ana, path)]
    assert all(tokens == after for tokens in seen)


async def test_output_is_served_whole_and_by_ranges(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    path = f"/executions/{execution_id}/output/stdout"
    started = await agent.starts(execution_id)
    await agent.writes(execution_id, b"01234", after=started)
    await agent.writes(execution_id, b"error", after=started, stream="stderr")
    answer = await ana.get(path)
    assert (answer.status, answer.body) == (200, b"01234")
    assert "ETag" not in answer.headers
    await agent.writes(execution_id, b"56789", after=started)
    await agent.finishes(execution_id)
    answer = await ana.get(path)
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.headers["ETag"] == f'"{hashlib.sha256(b"0123456789").hexdigest()}"'
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for wanted, body, place in (
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=4-6", b"456", "bytes 4-6/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=5-500", b"56789", "bytes 5-9/10"),
    ):
        answer = await ana.get(path, headers={"Range": wanted})
        assert (answer.status, answer.body) == (206, body)
        assert answer.headers["Content-Range"] == place
    answer = await ana.get(path, headers={"Range": "bytes=10-"})
    answer.problem(416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == "bytes */10"
    assert (await ana.get(path, headers={"Range": "lines=1-2"})).body == b"0123456789"
    assert (await ana.get(f"/executions/{execution_id}/output/stderr")).body == b"error"


async def test_an_execution_that_was_never_requested_does_not_exist(ana: ApiUser) -> None:
    for path in ("", "/tail", "/events", "/output/stdout"):
        (await ana.get(f"/executions/{new_id()}{path}")).problem(404, "not_found")


async def test_a_chunk_that_names_an_event_that_never_comes_is_shown_at_the_end(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    started = await agent.starts(execution_id)
    await agent.writes(execution_id, b"0", after=started)
    await agent.writes(execution_id, b"1", after=10**17)
    began = time.monotonic()
    found = []
    async for frame in ana.tail(f"/executions/{execution_id}/tail"):
        found.append(frame)
        if frame.event == "output" and frame.data["seq"] == 0:
            await agent.finishes(execution_id)
    assert output(found) == b"01"
    assert time.monotonic() - began < 8


async def test_a_tail_ends_after_its_token_was_revoked(
    api: Api, ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    execution_id = await run(ana, function)
    started = await agent.starts(execution_id)
    document = {"username": ana.name, "password": PASSWORD}
    token = (await api.nobody.post("/tokens", document)).expect(201)["token"]
    watching = asyncio.create_task(
        frames(ApiUser(api, ana.name, token), f"/executions/{execution_id}/tail")
    )
    await asyncio.sleep(1.0)
    (await ApiUser(api, ana.name, token).ask("DELETE", "/v1/tokens/current")).expect(204)
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(watching, 40)
    await agent.writes(execution_id, b"not for them", after=started)
