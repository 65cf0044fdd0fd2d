"""What the API knows of one pool, kept up to date by reading the pool's topics."""

from __future__ import annotations

import asyncio

from hermes.domain.pool import Applied, PoolState
from hermes.server.liveness import Liveness
from hermes.server.tails.hub import OutputHub
from hermes.server.tails.journal import Journal
from hermes.settings import Settings
from streams.fold import LogFold
from streams.log import LogWriter, PartitionReader
from streams.topics import Topics

_LONG_POLL_MS = 500


class PoolTap:
    """The pool's fold, the journal of its executions, its live output and its heartbeats."""

    def __init__(self, pool: str, settings: Settings, partitions: list[int]) -> None:
        topics = Topics(settings.topic_prefix)
        self.pool = pool
        self.output_topic = topics.output(pool)
        self.output_partitions = partitions
        topic = topics.executions(pool)
        self._reader = PartitionReader(settings.bootstrap, topic, max_wait_ms=_LONG_POLL_MS)
        self.fold: LogFold[PoolState, Applied] = LogFold(
            PoolState(pool=pool, topic=topic), self._reader, topic
        )
        self.journal = Journal()
        self.fold.listen(self.journal.take)
        self.hub = OutputHub(settings.bootstrap, self.output_topic, partitions)
        self.liveness = Liveness(settings.bootstrap, topics.heartbeats(pool), settings.lease)

    @classmethod
    async def open(cls, pool: str, settings: Settings, writer: LogWriter) -> PoolTap:
        """Read the pool up to its present end."""
        topic = Topics(settings.topic_prefix).output(pool)
        tap = cls(pool, settings, await writer.partitions(topic))
        await asyncio.gather(tap.fold.start(), tap.hub.start(), tap.liveness.start())
        return tap

    async def follow(self) -> None:
        """Read on for ever; raises what stops any of the readers."""
        async with asyncio.TaskGroup() as readers:
            readers.create_task(self.fold.follow())
            readers.create_task(self.liveness.follow())
            for partition in self.output_partitions:
                readers.create_task(self.hub.follow(partition))

    async def stop(self) -> None:
        """Stop reading."""
        await asyncio.gather(self.fold.stop(), self.hub.stop(), self.liveness.stop())

    async def end_offset(self) -> int:
        """Where the pool's topic ends at this moment. Raises LogUnavailable."""
        return await self._reader.end_offset()

    async def catch_up(self) -> None:
        """Have the fold read everything that stands in the topic at this moment, bounded."""
        end = await self.end_offset()
        if end:
            await self.fold.reached(end - 1, timeout=5.0)
