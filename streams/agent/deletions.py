"""An agent hears of deleted functions, and keeps nothing of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from hermes.domain.events import Event, FunctionDeleted
from hermes.errors import LogError, LogUnavailable
from streams.log import PartitionReader, recorded

log = logging.getLogger(__name__)

WAIT_MS = 1000
PAUSE = 1.0


class Deletions:
    """Follows the registry from where it ends when this begins. What is left here of functions that
    were deleted before goes by itself, only later.

    An agent may be forbidden to read the registry. Then what it keeps of a deleted function goes by
    itself, only later.
    """

    def __init__(self, reader: PartitionReader, forget: Callable[[str], Awaitable[None]]) -> None:
        """`forget` is given "owner/name:version"."""
        self._reader = reader
        self._forget = forget

    async def stop(self) -> None:
        """Disconnect."""
        await self._reader.stop()

    async def follow(self) -> None:
        """Forget what is deleted, for ever. What cannot be read is no reason to end an agent."""
        await self._reader.start()
        is_placed = False
        while True:
            try:
                if not is_placed:
                    self._reader.seek(await self._reader.end_offset())
                    is_placed = True
                records = await self._reader.batch(wait=WAIT_MS / 1000)
            except (LogError, LogUnavailable, KafkaError) as error:
                log.warning("cannot hear of deleted functions now: %s", error)
                await asyncio.sleep(PAUSE)
                continue
            for record in records:
                if (function := _deleted(record)) is not None:
                    await self._forget(function)


def _deleted(record: ConsumerRecord) -> str | None:
    try:
        found = recorded(record)
    except LogError:  # of a newer Hermes
        return None
    if isinstance(found.event, Event) and isinstance(found.event.data, FunctionDeleted):
        return f"{found.key}:{found.event.data.version}"
    return None
