"""Snapshots bound what a role reads at its start: a pool's fold as it stood at an offset.

The scheduler that leads writes one now and then; any role may begin with it. It is a copy of what
the log says and never needed: one that is missing, damaged, of other rules or of another topic of
the same name is passed over, and the topic is read from its start.
"""

from __future__ import annotations

import logging

import msgspec

from hermes.domain.pool import RULES, PoolState
from hermes.errors import HermesError
from infra.blobs import BlobStore
from streams.log import PartitionReader

log = logging.getLogger(__name__)

EVERY = 20_000
"""Records between two snapshots."""


class _Snapshot(msgspec.Struct, frozen=True):
    rules: int
    state: PoolState


_decoder = msgspec.msgpack.Decoder(_Snapshot)


class Snapshots:
    """The newest snapshot of each pool, in the blob store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._known: dict[str, int] = {}

    def is_due(self, state: PoolState) -> bool:
        """Whether enough was folded since the last one that this process wrote or read: the more,
        the larger the state is, so that its writing stays a small part of the work."""
        enough = max(EVERY, len(state.ended))
        return state.next_offset - self._known.get(state.topic, 0) >= enough

    async def save(self, state: PoolState) -> None:
        """Write the state as it stands now. A failure is logged: there is the next time."""
        # Encoded before anything is awaited, while the state stands still.
        encoded = msgspec.msgpack.encode(_Snapshot(RULES, state))
        self._known[state.topic] = state.next_offset
        try:
            await self._blobs.put_named(_name(state.topic), encoded)
        except (HermesError, OSError) as error:
            log.warning("no snapshot of %s: %s", state.topic, error)

    async def restore(self, topic: str, reader: PartitionReader) -> PoolState | None:
        """The newest state that fits this topic and these rules, or None.

        `reader` reads the topic and is moved. Raises LogUnavailable.
        """
        try:
            found = await self._blobs.get_named(_name(topic))
            if found is None:
                return None
            snapshot = _decoder.decode(found)
        except (HermesError, OSError, msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            log.warning("no snapshot of %s: %s", topic, error)
            return None
        state = snapshot.state
        if snapshot.rules != RULES or state.topic != topic or not await _fits(state, reader):
            log.warning("the snapshot of %s is of other rules or another topic", topic)
            return None
        self._known[topic] = state.next_offset
        return state


def _name(topic: str) -> str:
    return f"snapshots/{topic}"


async def _fits(state: PoolState, reader: PartitionReader) -> bool:
    """Whether the topic is the one whose records were folded, and still has them."""
    if not 0 < state.next_offset <= await reader.end_offset():
        return False
    reader.seek(0)
    records = await reader.batch(wait=5.0, most=1)
    reader.rest()
    return bool(records) and (records[0].offset, records[0].timestamp) == (0, state.began)
