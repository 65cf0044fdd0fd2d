"""A writer that keeps what it is given, and acknowledges when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from hermes.errors import LogUnavailable


class Sent(msgspec.Struct, frozen=True):
    """One record that was handed over."""

    topic: str
    key: str
    value: bytes
    partition: int | None
    headers: dict[str, str]


class Stored(msgspec.Struct, frozen=True):
    """What an acknowledgement says: where the record stands. Nothing of its time, so it must be
    read to be folded."""

    offset: int
    partition: int = 0
    timestamp: int = -1
    timestamp_type: int = 0


class FakeWriter:
    """In place of a LogWriter. With `holds` set, nothing is acknowledged until `release`."""

    timeout = 1.0

    def __init__(self, *, holds: bool = False) -> None:
        self.sent: list[Sent] = []
        self.holds = holds
        self.refusals = 0
        self.failure: Exception | None = None
        self._waiting: list[asyncio.Future[Any]] = []

    @property
    def unacknowledged(self) -> int:
        """Bytes of records whose future is not resolved."""
        return (
            sum(
                len(sent.value)
                for sent, future in zip(
                    self.sent[-len(self._waiting) :], self._waiting, strict=True
                )
                if not future.done()
            )
            if self._waiting
            else 0
        )

    async def send(
        self,
        topic: str,
        key: str,
        value: bytes,
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[Any]:
        if self.refusals:
            self.refusals -= 1
            raise LogUnavailable("no room")
        self.sent.append(
            Sent(topic, key, value, partition, {k: v.decode() for k, v in headers or ()})
        )
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
        elif self.holds:
            self._waiting.append(future)
        else:
            future.set_result(Stored(len(self.sent) - 1))
        return future

    def release(self) -> None:
        """Acknowledge everything, now and from now on."""
        self.holds = False
        first = len(self.sent) - len(self._waiting)
        for offset, future in enumerate(self._waiting, first):
            if not future.done():
                future.set_result(Stored(offset))
        self._waiting.clear()
