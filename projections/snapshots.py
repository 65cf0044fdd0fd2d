"""Snapshots of a pool's fold, so that a projector need not read a topic from its start.

A snapshot is a pure function of the log up to an offset; it decides nothing and may be deleted.
"""

from __future__ import annotations

import asyncpg
import msgspec

from hermes.domain.pool import RULES, PoolState

_KEPT = 3
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PoolState)


async def newest_snapshot(
    connection: asyncpg.Connection, topic: str, first_record: str, not_after: int
) -> PoolState | None:
    """The newest state of this very topic at or before an offset, by the rules of today."""
    rows = await connection.fetch(
        "SELECT state FROM hermes.snapshots WHERE topic = $1 AND first_record = $2 "
        "AND rules = $3 AND next_offset <= $4 ORDER BY next_offset DESC",
        topic,
        first_record,
        RULES,
        not_after,
    )
    for row in rows:
        try:
            return _decoder.decode(row["state"])
        except msgspec.MsgspecError:
            # Of another shape, or damaged: an older one, or the log itself, will do.
            continue
    return None


async def save_snapshot(
    connection: asyncpg.Connection, state: PoolState, first_record: str
) -> None:
    """Keep this state and the newest few before it."""
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO hermes.snapshots (topic, next_offset, rules, first_record, state) "
            "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (topic, next_offset) DO UPDATE "
            "SET rules = excluded.rules, first_record = excluded.first_record, "
            "state = excluded.state",
            state.topic,
            state.next_offset,
            RULES,
            first_record,
            _encoder.encode(state),
        )
        await connection.execute(
            "DELETE FROM hermes.snapshots WHERE topic = $1 AND next_offset NOT IN ("
            "SELECT next_offset FROM hermes.snapshots WHERE topic = $1 "
            "ORDER BY next_offset DESC LIMIT $2)",
            state.topic,
            _KEPT,
        )
