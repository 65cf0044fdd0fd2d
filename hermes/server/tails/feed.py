"""Brings an execution's output to its merger: live from the hub, or from the log to catch up."""

from __future__ import annotations

from hermes.errors import LogUnavailable
from hermes.server.tails.hub import OutputHub, OutputQueue
from hermes.server.tails.merger import Merger
from hermes.server.tails.window import Wanted
from streams.log import PartitionReader
from streams.output import chunk

# Output that the merger may hold back before it is given more, in bytes.
ENOUGH = 12 * 1024 * 1024
_BATCH = 32


class OutputFeed:
    """Call `pull` until it returns False: then only waiting helps."""

    def __init__(
        self,
        execution_id: str,
        hub: OutputHub,
        queue: OutputQueue,
        merger: Merger,
        nothing_below: list[int] | None = None,
    ) -> None:
        """`nothing_below`: by partition, an offset below which none of its output stands."""
        self._id = execution_id
        self._nothing_below = nothing_below
        self._hub = hub
        self._queue = queue
        self._merger = merger
        self._reader: PartitionReader | None = None
        self._reads: int | None = None  # the partition that the reader reads
        self._stands_at = -1
        self._beginning = 0
        self._end: tuple[int, int] | None = None  # an ended attempt and its partition's end

    async def stop(self) -> None:
        """Let go of the reader, if catching up needed one."""
        if self._reader is not None:
            reader, self._reader, self._reads = self._reader, None, None
            await reader.stop()

    async def pull(self) -> bool:
        """Give the merger more of what it wants; whether there was something to do."""
        wanted = self._merger.wanted
        if wanted is None or self._merger.held_bytes > ENOUGH:
            return False
        if wanted.partition not in self._hub.partitions:
            self._merger.output_all_read(wanted)
            return self._merger.wanted is None
        if self._queue.overflowed:
            self._queue.join(self._hub.starts())
        start = self._queue.starts[wanted.partition]
        floor = self._nothing_below[wanted.partition] if self._nothing_below else 0
        if wanted.offset < floor:
            self._merger.output_read_to(wanted, floor)
            return True
        if wanted.offset < start:
            await self._catch_up(wanted, start)
            return True
        if self._reader is not None:
            # Stopping it takes a moment in which the queue may overflow: look again afterwards.
            await self.stop()
            return True
        return await self._take_live(wanted)

    async def read_to(self, wanted: Wanted, offset: int) -> None:
        """Have the hub read up to `offset`, bounded. Raises LogUnavailable."""
        if not await self._hub.reached(wanted.partition, offset, timeout=10.0):
            raise LogUnavailable("the output could not be read")

    async def _take_live(self, wanted: Wanted) -> bool:
        position = self._hub.position(wanted.partition)
        found = self._queue.take(wanted.partition, wanted.attempt)
        for offset, item in found:
            self._merger.chunk(item, offset)
        self._merger.output_read_to(wanted, position)
        if found or self._merger.wanted != wanted:
            return True
        if not self._merger.needs_output_end:
            return False
        # The attempt ended and output is missing: at the partition's end we know that for good.
        if self._end is None or self._end[0] != wanted.attempt:
            self._end = (wanted.attempt, await self._hub.end_offset(wanted.partition))
        if wanted.offset < self._end[1]:
            await self.read_to(wanted, self._end[1])
        else:
            self._merger.output_all_read(wanted)
        return True

    async def _catch_up(self, wanted: Wanted, start: int) -> None:
        reader = await self._standing_at(wanted)
        if self._stands_at >= start:
            # Retention has removed everything up to where the live queue starts.
            self._merger.output_read_to(wanted, start)
            return
        records = await reader.batch(wait=1.0, most=_BATCH)
        key = self._id.encode()
        for record in records:
            if record.offset >= start:
                # The live queue has it; but if that overflows, reading goes on from here.
                reader.seek(start)
                self._stands_at = start
                break
            self._stands_at = record.offset + 1
            item = chunk(record) if record.key == key else None
            if item is not None:
                self._merger.chunk(item, record.offset)
        if records:
            self._merger.output_read_to(wanted, min(self._stands_at, start))

    async def _standing_at(self, wanted: Wanted) -> PartitionReader:
        if self._reader is not None and self._reads != wanted.partition:
            await self.stop()
        if self._reader is None:
            self._reader = self._hub.reader(wanted.partition)
            self._reads = wanted.partition
            await self._reader.start()
            # Before anything is awaited, or it would fetch from the start of the partition.
            self._reader.seek(wanted.offset)
            self._stands_at = wanted.offset
            self._beginning = await self._reader.beginning_offset()
        if self._beginning > wanted.offset:
            self._merger.output_expired(wanted)
        # The next attempt's output may begin before what was read for the one before.
        target = max(wanted.offset, self._beginning)
        if self._stands_at != target:
            self._reader.seek(target)
            self._stands_at = target
        return self._reader
