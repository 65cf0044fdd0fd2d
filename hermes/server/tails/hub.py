"""One live reader per output partition of a pool, however many clients listen."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hermes.errors import LogUnavailable
from streams.log import PartitionReader
from streams.output import Chunk, chunk

log = logging.getLogger(__name__)

QUEUE_BYTES = 4 * 1024 * 1024
QUEUE_CHUNKS = 4096
# A client that is behind holds a few times as much, for as long as it is slow.
CATCH_UP_BYTES = 1024 * 1024
PAUSE = 0.5
_LONG_POLL_MS = 500


class OutputQueue:
    """Live chunks of one execution for one client, bounded.

    It holds everything from `starts[partition]` on. When the client is too slow the queue empties
    itself and `overflowed` is set: the client reads the log at its own pace, then joins again.
    """

    def __init__(self, starts: list[int], wake: Callable[[], None]) -> None:
        self.starts = starts
        self.overflowed = False
        self._wake = wake
        self._chunks: dict[int, deque[tuple[int, Chunk]]] = {}
        self._count = 0
        self._bytes = 0

    def put(self, partition: int, offset: int, item: Chunk) -> None:
        """The hub's side; never waits."""
        if not self.overflowed:
            self._chunks.setdefault(partition, deque()).append((offset, item))
            self._count += 1
            self._bytes += len(item.data)
            if self._bytes > QUEUE_BYTES or self._count > QUEUE_CHUNKS:
                self._clear()
                self.overflowed = True
        self._wake()

    def join(self, starts: list[int]) -> None:
        """Start anew at these offsets."""
        self._clear()
        self.starts = starts
        self.overflowed = False

    def take(self, partition: int, attempt: int) -> list[tuple[int, Chunk]]:
        """What waits of this partition, with the records' offsets; chunks of later attempts stay,
        as their turn comes when this one is over."""
        waiting = self._chunks.pop(partition, None)
        if not waiting:
            return []
        found = [pair for pair in waiting if pair[1].attempt <= attempt]
        if len(found) < len(waiting):
            self._chunks[partition] = deque(p for p in waiting if p[1].attempt > attempt)
        self._count -= len(found)
        self._bytes -= sum(len(item.data) for _, item in found)
        return found

    def _clear(self) -> None:
        self._chunks.clear()
        self._count = self._bytes = 0


class OutputHub:
    """Reads the pool's output topic at its end and hands chunks to whoever listens to them."""

    def __init__(self, bootstrap: str, topic: str, partitions: list[int]) -> None:
        self._topic = topic
        self._bootstrap = bootstrap
        self._readers = {
            partition: PartitionReader(bootstrap, topic, partition, max_wait_ms=_LONG_POLL_MS)
            for partition in partitions
        }
        self._positions = dict.fromkeys(partitions, 0)
        self._moved = {partition: asyncio.Event() for partition in partitions}
        self._queues: dict[str, set[OutputQueue]] = {}

    async def start(self) -> None:
        """Stand at the end of every partition."""
        await asyncio.gather(*(reader.start() for reader in self._readers.values()))
        for partition, reader in self._readers.items():
            self._positions[partition] = await reader.end_offset()
            reader.seek(self._positions[partition])

    async def stop(self) -> None:
        """Disconnect."""
        await asyncio.gather(*(reader.stop() for reader in self._readers.values()))

    async def follow(self, partition: int) -> None:
        """Read one partition for ever."""
        reader = self._readers[partition]
        while True:
            try:
                records = await reader.batch(wait=1.0, most=1000)
            except LogUnavailable as error:
                log.warning("%s/%d cannot be read now: %s", self._topic, partition, error)
                await asyncio.sleep(PAUSE)
                continue
            if not records:
                continue
            self._positions[partition] = records[-1].offset + 1
            for record in records:
                queues = self._queues.get((record.key or b"").decode("utf-8", "replace"))
                item = chunk(record) if queues else None
                if queues and item is not None:
                    for queue in tuple(queues):
                        queue.put(partition, record.offset, item)
            moved, self._moved[partition] = self._moved[partition], asyncio.Event()
            moved.set()

    @property
    def partitions(self) -> list[int]:
        """The partitions of the topic."""
        return sorted(self._readers)

    def position(self, partition: int) -> int:
        """The offset up to which this partition was read."""
        return self._positions[partition]

    async def end_offset(self, partition: int) -> int:
        """The partition's end at this moment. Raises LogUnavailable."""
        return await self._readers[partition].end_offset()

    async def reached(self, partition: int, offset: int, timeout: float) -> bool:
        """Wait until the live reader has read everything below `offset`."""
        try:
            async with asyncio.timeout(timeout):
                while self._positions[partition] < offset:
                    await self._moved[partition].wait()
        except TimeoutError:
            return False
        return True

    def reader(self, partition: int) -> PartitionReader:
        """A reader of one's own, to catch up; the caller starts and stops it."""
        return PartitionReader(self._bootstrap, self._topic, partition, fetch_bytes=CATCH_UP_BYTES)

    def starts(self) -> list[int]:
        """Where a queue that joins now starts, by partition."""
        return [self._positions[partition] for partition in self.partitions]

    @contextmanager
    def listening(self, execution_id: str, wake: Callable[[], None]) -> Iterator[OutputQueue]:
        """A queue of this execution's live chunks, from this moment on."""
        queue = OutputQueue(self.starts(), wake)
        queues = self._queues.setdefault(execution_id, set())
        queues.add(queue)
        try:
            yield queue
        finally:
            queues.discard(queue)
            if not queues and self._queues.get(execution_id) is queues:
                del self._queues[execution_id]
