"""Many requests at once gain nobody anything, and take nothing from others."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.api import Api, ApiUser
from tests.support.fake_agent import FakeAgent

MIB = 1 << 20


@asynccontextmanager
async def begun(user: ApiUser, method: str, path: str, body: bytes, length: int, **headers: str
                ) -> AsyncIterator[asyncio.StreamReader]:  # fmt: skip
    """A request of which only `body` is sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", user.api.port)
    fields = {**user.headers(headers), "Host": "x", "Content-Length": str(length)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"{method} /v1{path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    try:
        yield reader
    finally:
        writer.close()


def memory(api: Api) -> int:
    """Bytes that the API's process has in memory."""
    pages = Path(f"/proc/{api.pid('hermes.server')}/statm").read_text().split()[1]
    return int(pages) * 4096


async def test_guesses_sent_at_once_wait_like_guesses_one_by_one(api: Api) -> None:
    victim = await api.user()
    wrong = {"username": victim.name, "password": "a wrong password"}
    answers = await asyncio.gather(*(api.nobody.post("/tokens", wrong) for _ in range(30)))
    tried = Counter(answer.status for answer in answers)
    assert tried[429] >= 20, tried
    assert 5 <= tried[401] <= 10, tried


async def test_slow_uploads_of_one_user_leave_room_for_others(ana: ApiUser, bob: ApiUser) -> None:
    async with AsyncExitStack() as slow:
        held = [
            await slow.enter_async_context(begun(ana, "PUT", f"/blobs/{'0' * 64}", b"x", 1000))
            for _ in range(40)
        ]
        first = await asyncio.wait_for(held[-1].read(12), 10)
        assert first == b"HTTP/1.1 429"
        data = b"from bob"
        path = f"/v1/blobs/{hashlib.sha256(data).hexdigest()}"
        (await bob.ask("PUT", path, data=data)).expect(201)


async def test_bodies_that_do_not_end_are_not_piled_up(
    api: Api, ana: ApiUser, bob: ApiUser, function: dict[str, Any]
) -> None:
    before = memory(api)
    async with AsyncExitStack() as slow:
        for _ in range(40):
            await slow.enter_async_context(
                begun(ana, "POST", "/executions", b'{"input": "' + b"x" * 5 * MIB, 6 * MIB)
            )
        run = {"function": function["id"], "input": "y" * 100_000}
        (await bob.post("/executions", run)).expect(202)
        assert memory(api) - before < 120 * MIB


async def test_an_open_tail_does_not_keep_the_request_that_opened_it(
    api: Api, ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    run = f'{{"function": "{function["id"]}", "input": "'.encode() + rb"\u0041" * MIB + b'"}'
    before = memory(api)
    async with AsyncExitStack() as open_tails:
        for _ in range(30):
            reader = await open_tails.enter_async_context(
                begun(ana, "POST", "/executions", run, len(run), Accept="text/event-stream")
            )
            assert await asyncio.wait_for(reader.readuntil(b"execution.requested"), 20)
        assert memory(api) - before < 100 * MIB
