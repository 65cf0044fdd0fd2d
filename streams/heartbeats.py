"""Heartbeats: soft state that proves life. Every reader reads them all, without a group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from hermes.errors import LogUnavailable
from streams.log import PartitionReader


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's whole running set, execution id → attempt, and its GPUs that are out of service,
    UUID → why."""

    agent: str
    incarnation: str
    running: dict[str, int]
    state: str = "online"
    drained_gpus: dict[str, str] = {}


_decoder = msgspec.json.Decoder(Heartbeat)
_encoder = msgspec.json.Encoder()


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """The record's value."""
    return _encoder.encode(heartbeat)


class HeartbeatReader:
    """Reads a pool's heartbeats from now on, and knows how far it has read."""

    def __init__(
        self, bootstrap: str, topic: str, on_heartbeat: Callable[[Heartbeat], None]
    ) -> None:
        self._reader = PartitionReader(bootstrap, topic, max_wait_ms=250)
        self._on_heartbeat = on_heartbeat
        self.next_offset = 0

    async def start(self) -> None:
        """Stand at the end: what came before proves nothing now."""
        await self._reader.start()
        self.next_offset = await self._reader.end_offset()
        self._reader.seek(self.next_offset)

    async def stop(self) -> None:
        """Stop reading."""
        await self._reader.stop()

    async def end_offset(self) -> int:
        """Where the partition ends now. Raises LogUnavailable."""
        return await self._reader.end_offset()

    async def follow(self) -> None:
        """Read for ever."""
        while True:
            try:
                records = await self._reader.batch(wait=1.0)
            except LogUnavailable:
                await asyncio.sleep(0.5)
                continue
            for record in records:
                self.next_offset = record.offset + 1
                try:
                    heartbeat = _decoder.decode(record.value or b"")
                except (msgspec.MsgspecError, RecursionError, UnicodeError):
                    continue
                self._on_heartbeat(heartbeat)
