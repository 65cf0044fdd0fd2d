"""An answer that fails when a part of it is sent ends there, and nothing is put behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from hermes.errors import LogUnavailable
from hermes.server.app import _Outermost
from hermes.server.connection import Connection
from hermes.server.metrics import Metrics


class FakeServices:
    """What answering needs of them."""

    def __init__(self) -> None:
        self.metrics = Metrics()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    services: Any = FakeServices()
    outermost = _Outermost(services)

    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"the beginning")
        raise LogUnavailable("it went away")

    @web.middleware
    async def answer(request: web.Request, handler: Any) -> web.StreamResponse:
        return await outermost.answer(request, handler)

    app = web.Application(middlewares=[answer])
    app.router.add_get("/", breaks)
    runner = web.AppRunner(app, handle_signals=False)
    await runner.setup()
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server, loop), "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()
    await runner.cleanup()


@pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning")
async def test_no_problem_is_put_behind_the_part_of_an_answer_that_was_sent(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        received = await reader.read()
    writer.close()
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"\r\n\r\nthe beginning")
