"""What the log alone takes: a small durable record, from its producer to a reader in another task.

Before a warm run's first byte is seen, four such hops follow one upon the other, since each role
acts only on what the log holds: requested → scheduler, scheduled → agent, claimed and started →
agent, output → API. Four hops are the floor of such a run; the rest is Hermes' own work.
"""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

HOPS = 4
_TOPIC = "bench.floor"
_PATIENCE = 10.0
_RECORD = b"x" * 400  # about an event's size


class LogFloor:
    """`open`, measure, `close`. On the broker that the measured Hermes uses, in a topic apart."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._arrived: asyncio.Queue[None] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def open(self) -> None:
        """Make the topic as the executions' is, and connect."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(_TOPIC, 1, 1, topic_configs={"flush.messages": "1"})])
        await admin.close()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True
        )
        await self._producer.start()
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
        await self._consumer.start()
        partition = TopicPartition(_TOPIC, 0)
        self._consumer.assign([partition])
        self._consumer.seek(partition, 0)  # else the first record may come before it has a place
        self._reading = asyncio.get_running_loop().create_task(self._read(self._consumer))
        for _ in range(20):
            await self.hop()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for _ in consumer:
            self._arrived.put_nowait(None)

    async def hop(self) -> float:
        """Seconds from sending a record until it was acknowledged and read."""
        assert self._producer is not None
        begun = time.perf_counter()
        async with asyncio.timeout(_PATIENCE):
            await self._producer.send_and_wait(_TOPIC, _RECORD)
            await self._arrived.get()
        return time.perf_counter() - begun

    async def close(self) -> None:
        """Disconnect."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._consumer is not None:
            await self._consumer.stop()
        if self._producer is not None:
            await self._producer.stop()
