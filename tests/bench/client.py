"""Runs over HTTP as any client makes them, with the time of everything that comes."""

from __future__ import annotations

import base64
import time
from datetime import datetime
from typing import Any

import aiohttp
import msgspec

from cli.sse import Parser

_TIMEOUT = aiohttp.ClientTimeout(total=60.0)


class Run(msgspec.Struct, kw_only=True):
    """One synchronous run. Times are `time.time()`; `times` has the events' own by kind, and
    `read` when the agent read the first output. `lines` pairs what came with when it came."""

    asked: float
    first_byte: float = 0.0
    ended: float = 0.0
    outcome: str | None = None
    bytes: int = 0
    times: dict[str, float] = {}
    read: float = 0.0
    chunks: list[tuple[float, bytes]] = []

    @property
    def latency(self) -> float:
        """Milliseconds from asking to the first byte."""
        return (self.first_byte - self.asked) * 1e3


class Client:
    """Keeps its connections. `open` first, `close` at last."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool of connections."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0)
        self._session = aiohttp.ClientSession(
            self._url, headers=self._headers, connector=connector, timeout=_TIMEOUT
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Any:
        """A JSON document."""
        return await self._json("GET", path)

    async def post(self, path: str, body: Any = None) -> Any:
        """What a POST answers."""
        return await self._json("POST", path, body)

    async def run(self, function: str, text: str = "", keep: bool = True) -> Run:
        """Run a function and read its tail to the end. Without `keep` output is only counted."""
        assert self._session is not None
        body: dict[str, Any] = {"function": function}
        if text:
            body["input"] = text
        run = Run(asked=time.time())
        parser = Parser()
        async with self._session.post(
            "/v1/executions", json=body, headers={"Accept": "text/event-stream"}
        ) as response:
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {await response.text()}")
            async for piece in response.content.iter_any():
                now = time.time()
                for frame in parser.feed(piece):
                    _take(run, frame.event, frame.data, now, keep)
        return run

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        assert self._session is not None
        async with self._session.request(method, path, json=body) as response:
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {await response.text()}")
            return await response.json()


def _take(run: Run, event: str, data: str, now: float, keep: bool) -> None:
    if event == "output":
        if not run.first_byte:
            run.first_byte = now
            run.read = _seconds(msgspec.json.decode(data)["time"])
        if keep:
            content = base64.b64decode(msgspec.json.decode(data)["data"])
            run.bytes += len(content)
            run.chunks.append((now, content))
        else:
            run.bytes += len(data)
    elif event == "event":
        found = msgspec.json.decode(data)
        run.times[found["kind"].removeprefix("execution.")] = _seconds(found["occurred_at"])
    elif event == "end":
        run.ended = now
        run.outcome = msgspec.json.decode(data)["outcome"]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
