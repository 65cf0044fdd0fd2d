"""FakeApi: the REST and SSE interface without a log behind it, for tests of what speaks to it.

It is a real aiohttp server on a loopback port, in a thread of its own. Executions follow scripts;
connections can be cut in the middle of an event. What was asked stands in `requests`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.support.fake_executions import FakeExecution
from tests.support.fake_routes import FakeRoutes
from tests.support.fake_shapes import problem

Handler = Callable[[web.Request, list[str], bytes, str], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes


class FakeApi(FakeRoutes):
    """Use as a context manager; `url` is where it listens."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.requests: list[Asked] = []
        #: For each coming event stream: the number of frames after which it breaks.
        self.cuts: list[int] = []
        #: Whether a cut connection falls silent instead of breaking.
        self.cuts_are_silent = False
        #: Answers to give instead, once each: (method, path, response factory).
        self.instead: list[tuple[str, str, Any]] = []
        self.views_lag = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> FakeApi:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=200 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    def asked(self, method: str, path: str) -> list[Asked]:
        """The requests so far with this method and path."""
        return [r for r in self.requests if (r.method, r.path) == (method, path)]

    def wait_until_asked(self, method: str, path: str, timeout: float = 10.0) -> Asked:
        """The first such request, once it is there."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if found := self.asked(method, path):
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"nobody asked {method} {path}")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(
            Asked(
                request.method,
                request.path,
                list(request.query.items()),
                dict(request.headers),
                body,
            )
        )
        for index, (method, path, factory) in enumerate(self.instead):
            if (method, path) == (request.method, request.path):
                del self.instead[index]
                answer: web.Response = factory()
                return answer
        if self.views_lag and "Hermes-After" in request.headers:
            return problem("position_not_reached", 412, "Not there yet")
        parts = request.path.strip("/").split("/")
        if parts[0] != "v1":
            return problem("not_found", 404, "Not found")
        if parts[1] == "openapi.json":
            return web.json_response({"info": {"version": "9.9.9"}})
        if (request.method, parts[1:]) in (("POST", ["users"]), ("POST", ["tokens"])):
            return self._log_in(parts[1], json.loads(body))
        user = self.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if user is None:
            return problem("unauthenticated", 401, "A valid token is needed")
        handler: Handler | None = getattr(self, f"_{parts[1]}", None)
        if handler is None:
            return problem("not_found", 404, "Not found")
        return await handler(request, parts[2:], body, user)

    async def _tail(
        self,
        request: web.Request,
        execution: FakeExecution,
        headers: dict[str, str] | None = None,
    ) -> web.StreamResponse:
        resume = request.headers.get("Last-Event-ID")
        if resume is not None and not resume.startswith("after-"):
            return problem("invalid_cursor", 400, "Not a resume token")
        index = int(resume.removeprefix("after-")) + 1 if resume else 0
        cut = index + self.cuts.pop(0) if self.cuts else None
        response = web.StreamResponse(headers=headers)
        response.content_type = "text/event-stream"
        await response.prepare(request)
        await response.write(b": hello\n\n")
        follow = request.query.get("follow") != "false"
        while True:
            while index < len(execution.frames):
                name, data = execution.frames[index]
                text = f"event: {name}\nid: after-{index}\ndata: {json.dumps(data)}\n\n".encode()
                if index == cut:
                    # Half of an event, and then the wire is dead.
                    await response.write(text[: len(text) // 2])
                    if self.cuts_are_silent:
                        await self._stop.wait()
                    assert request.transport is not None
                    request.transport.close()
                    return response
                await response.write(text)
                index += 1
            if execution.ended or not follow:
                return response
            await asyncio.sleep(0.01)
