"""Moves what a program writes into the log: read, cut into chunks, number, hash, append.

One loop serves both pipes, so the sequence numbers are the order of reading. What the broker
has not acknowledged is bounded; beyond that the pipes are not read and the program waits
(back-pressure), also through an outage of the broker.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from hermes.domain.resources import StreamDigest
from hermes.errors import LogUnavailable
from streams.log import LogWriter
from streams.output import MAX_CHUNK, headers

MAX_UNACKNOWLEDGED = 8 * 1024 * 1024
# A program that flushes line by line would make a record of each; a pause this short lets them
# gather and is not seen by a reader.
GATHER = 0.002
SMALL = 4096
# Reads of one pipe before the other one, and the rest of the agent, have their turn.
TURN = 8

Name = Literal["stdout", "stderr"]


class _Source:
    def __init__(self, name: Name, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.offset = 0
        self.digest = hashlib.sha256()
        self.open = True


class OutputPump:
    """The output of one attempt. `limit` is in bytes per stream; exactly that much is allowed."""

    def __init__(
        self,
        *,
        execution_id: str,
        attempt: int,
        writer: LogWriter,
        topic: str,
        partition: int,
        limit: int,
        after: Callable[[], int],
        on_limit: Callable[[Name], None],
        on_stored: Callable[[int], None],
    ) -> None:
        """`on_stored` is told the offset behind each chunk that the broker has acknowledged."""
        self._execution_id = execution_id
        self._attempt = attempt
        self._writer = writer
        self._topic = topic
        self._partition = partition
        self._limit = limit
        self._after = after
        self._on_limit = on_limit
        self._on_stored = on_stored
        self._seq = 0
        self._sources: list[_Source] = []
        self._ready = asyncio.Event()
        self._unacknowledged: deque[tuple[asyncio.Future[Any], int]] = deque()
        self._outstanding = 0
        self._last_send = 0.0
        self._failed: BaseException | None = None
        self.limited: Name | None = None

    @property
    def last_seq(self) -> int:
        """The number of the last chunk, -1 without output."""
        return self._seq - 1

    @property
    def total(self) -> int:
        """Bytes of both streams that were kept."""
        return sum(source.offset for source in self._sources)

    def digests(self) -> dict[str, StreamDigest]:
        """Length and SHA-256 of each stream."""
        return {
            source.name: StreamDigest(bytes=source.offset, sha256=source.digest.hexdigest())
            for source in self._sources
        }

    async def run(self, stdout: int, stderr: int) -> None:
        """Pump until both pipes are at their end, then until all is acknowledged.

        Raises KafkaError as soon as a chunk cannot be appended.
        """
        loop = asyncio.get_running_loop()
        self._sources = [_Source("stdout", stdout), _Source("stderr", stderr)]
        try:
            for source in self._sources:
                loop.add_reader(source.fd, self._readable, source)
            while any(source.open for source in self._sources):
                await self._ready.wait()
                self._ready.clear()
                if self._failed is not None:
                    raise self._failed
                for source in self._sources:
                    if source.open:
                        await self._drain(source)
        finally:
            for source in self._sources:
                loop.remove_reader(source.fd)
        await self._settle(0)

    def _readable(self, source: _Source) -> None:
        # Level-triggered: silence it until the loop below has emptied the pipe.
        asyncio.get_running_loop().remove_reader(source.fd)
        self._ready.set()

    async def _drain(self, source: _Source) -> None:
        for _ in range(TURN):
            try:
                data = os.read(source.fd, MAX_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                source.open = False
                return
            await self._take(source, data)
            if len(data) < SMALL:
                break
        asyncio.get_running_loop().add_reader(source.fd, self._readable, source)

    async def _take(self, source: _Source, data: bytes) -> None:
        room = self._limit - source.offset
        if len(data) > room:
            if self.limited is None:
                self.limited = source.name
                self._on_limit(source.name)
            data = data[:room]
            if not data:
                return
        now = asyncio.get_running_loop().time()
        source.digest.update(data)
        await self._send(source, data)
        source.offset += len(data)
        if len(data) < SMALL and now - self._last_send < GATHER:
            await asyncio.sleep(GATHER)
        self._last_send = now

    async def _send(self, source: _Source, data: bytes) -> None:
        await self._settle(MAX_UNACKNOWLEDGED - len(data))
        described = headers(
            attempt=self._attempt,
            seq=self._seq,
            stream=source.name,
            offset=source.offset,
            time=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            after=self._after(),
        )
        while True:
            try:
                future = await self._writer.send(
                    self._topic,
                    self._execution_id,
                    data,
                    partition=self._partition,
                    headers=described,
                )
                break
            except LogUnavailable:
                # The producer's buffer is full for longer than its deadline: keep waiting.
                await asyncio.sleep(0.2)
        self._seq += 1
        self._outstanding += len(data)
        self._unacknowledged.append((future, len(data)))
        future.add_done_callback(self._acknowledged)

    def _acknowledged(self, sent: asyncio.Future[Any]) -> None:
        # A program that has fallen silent is not read: it would run on, its output lost.
        if not sent.cancelled() and sent.exception() is not None:
            self._failed = sent.exception()
            self._ready.set()

    async def _settle(self, most: int) -> None:
        """Wait until at most `most` bytes are not acknowledged. Raises KafkaError if one failed."""
        while self._unacknowledged and (
            self._outstanding > most or self._unacknowledged[0][0].done()
        ):
            future, size = self._unacknowledged[0]
            stored = await asyncio.shield(future)
            self._on_stored(stored.offset + 1)
            self._unacknowledged.popleft()
            self._outstanding -= size
