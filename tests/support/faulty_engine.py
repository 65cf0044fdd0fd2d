"""A proxy before the engine that fails as engines do: errors, answers lost, answers that lie."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from pathlib import Path
from typing import Literal

from infra.engine import socket_path

#: refuse: 500, not passed on. lie: passed on, answered 500. lose: passed on, the connection closed
#: without an answer. hang: neither passed on nor answered. late: passed on after `heal`, no answer.
Fault = Literal["refuse", "lie", "lose", "hang", "late"]
_WORDS = b'{"message": "no space left on device"}'


class FaultyEngine:
    """`fail` says what goes wrong from now on; `asked` counts what was asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: Counter[str] = Counter()
        self._faults: list[tuple[re.Pattern[str], Fault, int]] = []
        self._healed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.path}"

    async def start(self) -> None:
        """Listen."""
        self._engine = socket_path()
        self._server = await asyncio.start_unix_server(self._accept, str(self.path))

    def fail(self, request: str, fault: Fault, times: int = 1_000_000) -> None:
        """Let requests whose "METHOD /path" matches fail so, the next `times` of them."""
        self._faults.append((re.compile(request), fault, times))

    def heal(self) -> None:
        """Nothing fails any more, and what is late goes on."""
        self._faults.clear()
        self._healed.set()
        self._healed = asyncio.Event()

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection, which is all that HTTP asks of a server."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        request = re.sub(r"/v\d[\d.]+", "", head.split(b" HTTP/")[0].decode())
        self.asked[request.split("?")[0]] += 1
        fault = self._fault(request)
        if fault == "refuse":
            writer.write(_refusal())
        elif fault == "hang":
            await self._healed.wait()
        else:
            if fault == "late":
                await self._healed.wait()
            answer = await self._pass_on(head, body)
            if fault is None:
                writer.write(answer)
            elif fault == "lie":
                writer.write(_refusal())
        await writer.drain()

    def _fault(self, request: str) -> Fault | None:
        for place, (pattern, fault, times) in enumerate(self._faults):
            if pattern.match(request):
                self._faults[place : place + 1] = [(pattern, fault, times - 1)] if times > 1 else []
                return fault
        return None

    async def _pass_on(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self._engine))
        try:
            first, _, rest = head.partition(b"\r\n")
            writer.write(first + b"\r\nConnection: close\r\n" + rest + body)
            return await reader.read()
        finally:
            writer.close()


def _refusal() -> bytes:
    return (
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_WORDS), _WORDS)
    )
