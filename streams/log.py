"""The log itself: appending events, and reading a partition from any offset.

Appends go through an idempotent producer with `acks=all`, which never gives up by itself; so each
has a deadline of ours. After the deadline the append may still happen: `LogUnavailable` means
unknown, and whoever retries uses the same id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from hermes.domain import codec
from hermes.domain.events import Event, EventData, Recorded
from hermes.domain.ids import new_id
from hermes.domain.resources import Position
from hermes.errors import LogError, LogUnavailable
from streams.client import CLIENT
from streams.topics import MAX_RECORD_BYTES

log = logging.getLogger(__name__)

START_PATIENCE = 60.0
FETCH_BYTES = 8 * 1024 * 1024


def new_event(
    data: EventData,
    actor: str,
    *,
    event_id: str | None = None,
    cause: Event | None = None,
    correlation_id: str | None = None,
) -> Event:
    """A fact in its envelope, occurred now."""
    return Event(
        id=event_id or new_id(),
        kind=data.kind,
        occurred_at=datetime.now(UTC),
        actor=actor,
        causation_id=cause.id if cause else None,
        correlation_id=correlation_id or (cause.correlation_id if cause else None),
        data=data,
    )


def recorded(record: ConsumerRecord) -> Recorded:
    """A Kafka record as the folds take it. Raises LogError for a newer kind."""
    key = record.key.decode("utf-8", "replace") if record.key else ""
    return Recorded(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        log_time=record.timestamp,
        key=key,
        event=codec.decode(record.value),
    )


async def patiently(start: Any, what: str, patience: float = START_PATIENCE) -> None:
    """Await `start()` until it succeeds: roles start beside the servers that they need."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            await start()
            return
        except (KafkaError, OSError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise LogUnavailable(
                    f"{what} did not answer in {patience:.0f} s: {error}"
                ) from None
            await asyncio.sleep(0.1)


class LogWriter:
    """Appends records. One per process for events; another, batching, for output."""

    def __init__(self, bootstrap: str, *, timeout: float, batch_bytes: int = 64 * 1024) -> None:
        self.timeout = timeout
        self._wedged: asyncio.Event = asyncio.Event()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            enable_idempotence=True,
            acks="all",
            max_request_size=MAX_RECORD_BYTES,
            max_batch_size=batch_bytes,
            **CLIENT,
        )
        # aiokafka would drop what waited for a leader as long as for a request. A record that it
        # tried before has its number already, and no later one would be taken after the gap.
        self._producer._message_accumulator._batch_ttl = float("inf")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, with patience. Raises LogUnavailable."""
        await patiently(self._producer.start, "Kafka")

    async def stop(self) -> None:
        """Flush what can be flushed and disconnect, within the deadline."""
        try:
            await asyncio.wait_for(self._producer.stop(), self.timeout)
        except (TimeoutError, KafkaError):
            return

    async def send(
        self,
        topic: str,
        key: str,
        value: bytes,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[Any]:
        """Hand a record over, in order; the future resolves when the broker acknowledged it."""
        try:
            # Without a task of its own, so that what is sent in a row becomes one request.
            async with asyncio.timeout(self.timeout):
                future: asyncio.Future[Any] = await self._producer.send(
                    topic, value, key=key.encode(), partition=partition, headers=headers or []
                )
        except (TimeoutError, KafkaError) as error:
            raise LogUnavailable(f"{topic} took no record: {error!r}") from None
        future.add_done_callback(self._judge)
        return future

    async def watch(self) -> None:
        """Return only by raising LogError, once the broker has refused a record for good: its
        sequence number is missing before all later ones, so every one of them is refused, too."""
        await self._wedged.wait()
        raise LogError("the log refused a record, and will refuse this process's next ones")

    def _judge(self, sent: asyncio.Future[Any]) -> None:
        error = None if sent.cancelled() else sent.exception()
        if isinstance(error, KafkaError) and not error.retriable:
            log.error("the log refused a record: %r", error)
            self._wedged.set()

    async def acknowledged(self, future: asyncio.Future[Any]) -> Position:
        """Where a sent record stands. Raises LogUnavailable after the deadline."""
        try:
            meta = await asyncio.wait_for(asyncio.shield(future), self.timeout)
        except (TimeoutError, KafkaError) as error:
            raise LogUnavailable(
                f"the append was not acknowledged in {self.timeout:.0f} s: {error!r}"
            ) from None
        return Position(meta.topic, meta.partition, meta.offset)

    async def append(self, topic: str, key: str, event: Event) -> Position:
        """Append one event and await the acknowledgement; whoever acts waits for the fold."""
        return await self.acknowledged(await self.send(topic, key, codec.encode(event)))

    async def partitions(self, topic: str) -> list[int]:
        """The topic's partitions."""
        try:
            found = await asyncio.wait_for(self._producer.partitions_for(topic), self.timeout)
        except (TimeoutError, KafkaError) as error:
            raise LogUnavailable(f"{topic}: {error!r}") from None
        return sorted(found)


class PartitionReader:
    """Reads one partition from any offset, without a consumer group."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        partition: int = 0,
        *,
        max_wait_ms: int = 100,
        fetch_bytes: int = FETCH_BYTES,
    ) -> None:
        """`fetch_bytes` are asked for at once; as many again may wait to be read."""
        self._tp = TopicPartition(topic, partition)
        self._bootstrap = bootstrap
        self._resting = True
        self._asker: asyncio.Task[AIOKafkaConsumer] | None = None
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=max_wait_ms,
            max_partition_fetch_bytes=fetch_bytes,
            **CLIENT,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, with patience, and stand at the start of the partition."""
        await patiently(self._consumer.start, "Kafka")
        self._consumer.assign([self._tp])
        self._consumer.seek(self._tp, 0)
        self.rest()

    async def stop(self) -> None:
        """Disconnect."""
        # A task of aiokafka's that had no turn yet would end `stop` with a CancelledError.
        await asyncio.sleep(0)
        await self._consumer.stop()
        if self._asker is not None:
            await asyncio.wait({self._asker})
            if self._asker.exception() is None:
                await self._asker.result().stop()
            self._asker = None

    def seek(self, offset: int) -> None:
        """Read on from `offset`."""
        self._consumer.seek(self._tp, offset)
        self._read_on()

    def rest(self) -> None:
        """Fetch nothing until the next `seek` or `batch`: a fetch that waits at the partition's
        end would delay them."""
        self._consumer.pause(self._tp)
        self._resting = True

    def _read_on(self) -> None:
        self._consumer.resume(self._tp)
        self._resting = False

    async def end_offset(self) -> int:
        """The offset that the next record will get. Raises LogUnavailable."""
        return await self.end_offset_of(self._tp.topic, self._tp.partition)

    async def end_offset_of(self, topic: str, partition: int) -> int:
        """The same for any partition. Raises LogUnavailable."""
        tp = TopicPartition(topic, partition)
        try:
            return int((await (await self._free_connection()).end_offsets([tp]))[tp])
        except KafkaError as error:
            raise LogUnavailable(f"{tp}: {error!r}") from None

    async def beginning_offset(self) -> int:
        """The first offset that is still kept. Raises LogUnavailable."""
        try:
            found = await (await self._free_connection()).beginning_offsets([self._tp])
            return int(found[self._tp])
        except KafkaError as error:
            raise LogUnavailable(f"{self._tp}: {error!r}") from None

    async def _free_connection(self) -> AIOKafkaConsumer:
        """A broker answers a connection's requests in turn, and a fetch that waits for records is
        answered late: while one may be under way, questions go over a connection of their own."""
        if self._resting:
            return self._consumer
        if self._asker is None or (self._asker.done() and self._asker.exception() is not None):
            # One for all who ask at once, and no matter of any of them: who is cancelled meanwhile
            # must not take it from the others.
            self._asker = asyncio.get_running_loop().create_task(self._connect_asker())
        return await asyncio.shield(self._asker)

    async def _connect_asker(self) -> AIOKafkaConsumer:
        asker = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, **CLIENT)
        try:
            await asker.start()
        except BaseException:
            await asker.stop()
            raise
        return asker

    async def batch(self, wait: float = 0.2, most: int = 5000) -> list[ConsumerRecord]:
        """The next records, at most `most`; an empty list after `wait` seconds without any.

        Raises LogError if the offset to read from is not there, LogUnavailable.
        """
        if self._resting:
            self._read_on()
        try:
            found = await self._consumer.getmany(
                self._tp, timeout_ms=int(wait * 1000), max_records=most
            )
        except OffsetOutOfRangeError as error:
            raise LogError(f"{self._tp}: there is no such offset: {error}") from None
        except KafkaError as error:
            raise LogUnavailable(f"{self._tp}: {error!r}") from None
        return list(found.get(self._tp, ()))
