"""A role's state is the fold of a partition; this keeps one up to date and tells who listens.

The fold is advanced by whoever reads: a loop of our own (`follow`) or Faust's doorbell
(`advance`), or by an acknowledgement: an own event that is the very next in the log need not be
read. Records folded already are skipped, a gap is read by the plain consumer first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from aiokafka.structs import RecordMetadata

from hermes.domain.codec import decode, encode
from hermes.domain.events import Event, Recorded
from hermes.errors import LogError, LogUnavailable
from streams.log import LogWriter, PartitionReader, recorded

log = logging.getLogger(__name__)

PAUSE = 0.5
_LOG_APPEND_TIME = 1  # Kafka's type of a record's time: the broker's

VerdictT = TypeVar("VerdictT")
VerdictT_co = TypeVar("VerdictT_co", covariant=True)


class Foldable(Protocol[VerdictT_co]):
    """A fold's state: `PoolState`, `RegistryState`."""

    next_offset: int

    def apply(self, record: Recorded, /) -> VerdictT_co:
        """Fold the next record."""
        ...


StateT = TypeVar("StateT", bound=Foldable)  # type: ignore[type-arg]
Listener = Callable[[Recorded, VerdictT], None]
Restore = Callable[[str, PartitionReader], Awaitable[StateT | None]]


class LogFold(Generic[StateT, VerdictT]):
    """The state, the reader that feeds it, and the callers that wait for their own events."""

    def __init__(self, state: StateT, reader: PartitionReader, topic: str) -> None:
        self.state = state
        self.topic = topic
        self._reader = reader
        self._listeners: list[Listener[VerdictT]] = []
        self._awaited: dict[str, list[asyncio.Future[VerdictT]]] = {}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._lock = asyncio.Lock()
        self._failure: Exception | None = None

    def listen(self, listener: Listener[VerdictT]) -> Callable[[], None]:
        """Call `listener` with every record folded from now on; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def start(self, restore: Restore[StateT] | None = None) -> None:
        """Fold everything up to the present end of the partition, from what `restore` finds on."""
        await self._reader.start()
        if restore is not None:
            self.state = await restore(self.topic, self._reader) or self.state
        await self.advance(await self._reader.end_offset())

    async def stop(self) -> None:
        """Stop reading."""
        await self._reader.stop()

    async def advance(self, offset: int) -> None:
        """Fold up to (not including) `offset`. Raises LogUnavailable if the log cannot be read."""
        async with self._lock:
            if self.state.next_offset >= offset:
                return
            self._reader.seek(self.state.next_offset)
            silent = 0
            while self.state.next_offset < offset:
                records = await self._reader.batch()
                silent = 0 if records else silent + 1
                if silent > 50:
                    raise LogUnavailable(
                        f"{self.topic} gives no record at {self.state.next_offset}"
                    )
                self._fold([recorded(raw) for raw in records])
            self._reader.rest()

    async def catch_up(self) -> None:
        """Fold up to the partition's end as it is now."""
        await self.advance(await self._reader.end_offset())

    def take(self, record: Recorded) -> bool:
        """Fold this record if it is the very next; False if a gap must be read first."""
        if record.offset > self.state.next_offset:
            return False
        self._fold([record])
        return True

    async def follow(self, gather: float = 0.0) -> None:
        """Fold for ever, as records come. Ends only by cancellation or a LogError.

        With `gather` seconds of rest after what was read, the next read has more at once.
        """
        self._reader.seek(self.state.next_offset)
        while True:
            try:
                records = await self._reader.batch(wait=1.0)
            except LogUnavailable as error:
                log.warning("%s cannot be read now: %s", self.topic, error)
                await asyncio.sleep(PAUSE)
                continue
            self._fold([recorded(raw) for raw in records])
            if records and gather:
                await asyncio.sleep(gather)

    async def send(self, writer: LogWriter, key: str, event: Event) -> asyncio.Future[Any]:
        """Hand an event over, in order; it is folded at the latest when the log is read up to it.
        The future is the writer's. Raises LogUnavailable."""
        value = encode(event)
        sent = await writer.send(self.topic, key, value)
        sent.add_done_callback(lambda _: self._take_back(key, value, sent))
        return sent

    def _take_back(self, key: str, value: bytes, sent: asyncio.Future[RecordMetadata]) -> None:
        # Acknowledged by all replicas it stands, and nothing stands between it and what is folded.
        if sent.cancelled() or sent.exception() is not None:
            return
        stored = sent.result()
        if stored.offset != self.state.next_offset or stored.timestamp_type != _LOG_APPEND_TIME:
            return
        try:
            self.take(
                Recorded(
                    topic=self.topic,
                    partition=stored.partition,
                    offset=stored.offset,
                    log_time=stored.timestamp,
                    key=key,
                    event=decode(value),
                )
            )
        except Exception as error:
            # Nobody awaits this: whoever reads on fails with it, as if it had been read.
            self._failure = error

    async def append(self, writer: LogWriter, key: str, event: Event) -> tuple[int, VerdictT]:
        """Append and read on to the event itself: its offset and what the fold made of it.

        Raises LogUnavailable if that takes too long; the event may still come to stand in the log.
        """
        future: asyncio.Future[VerdictT] = asyncio.get_running_loop().create_future()
        # Retries of one request may append the same event at the same time.
        self._awaited.setdefault(event.id, []).append(future)
        try:
            position = await writer.acknowledged(await self.send(writer, key, event))
            verdict = await asyncio.wait_for(future, writer.timeout)
        except TimeoutError:
            raise LogUnavailable("the event was appended but could not be read back") from None
        finally:
            awaited = self._awaited.get(event.id, [])
            if future in awaited:
                awaited.remove(future)
            if not awaited:
                self._awaited.pop(event.id, None)
        return position.offset, verdict

    async def reached(self, offset: int, timeout: float) -> bool:
        """Wait until the record at `offset` is folded; False after `timeout` seconds."""
        if self.state.next_offset > offset:
            return True
        waiter = (offset, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await asyncio.wait_for(waiter[1], timeout)
        except TimeoutError:
            return False
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return True

    def _fold(self, records: list[Recorded]) -> None:
        if self._failure is not None:
            raise self._failure
        for record in records:
            if record.offset < self.state.next_offset:
                continue
            if record.offset > self.state.next_offset:
                # Without transactions and compaction offsets have no holes: records are missing.
                raise LogError(
                    f"{self.topic}: offset {self.state.next_offset} is gone, "
                    f"the next is {record.offset}"
                )
            verdict = self.state.apply(record)
            if isinstance(record.event, Event):
                for awaited in self._awaited.pop(record.event.id, ()):
                    if not awaited.done():
                        awaited.set_result(verdict)
            for listener in tuple(self._listeners):
                listener(record, verdict)
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        passed = [w for w in self._waiters if w[0] < self.state.next_offset]
        self._waiters = [w for w in self._waiters if w[0] >= self.state.next_offset]
        for _, future in passed:
            if not future.done():
                future.set_result(None)
