"""How far a projection has read a partition, moved in the transaction that writes its rows.

The move is guarded by the expected old value and the generation: whoever finds no row to move is a
zombie, or stands on a generation that a rebuild has replaced, and its transaction goes back.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec

from hermes.errors import ServerFault
from projections.definitions import Source, feeding

CHECKPOINTS_CHANNEL = "hermes_checkpoints"


class CheckpointLost(ServerFault):
    """Somebody else moved the checkpoint; nothing was written"""


class LogMismatch(ServerFault):
    """The log is not the one that the views were made from"""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`next_offset` is the first offset that the projection has not applied."""

    projection: str
    generation: int
    topic: str
    partition: int
    next_offset: int
    first_record: str | None
    error: str | None = None


async def load_checkpoint(
    connection: asyncpg.Connection, projection: str, topic: str, partition: int
) -> Checkpoint:
    """The checkpoint of the active generation, at 0 if the partition is new."""
    row = await connection.fetchrow(_INSERT_IF_NEW, projection, topic, partition)
    if row is None:
        row = await connection.fetchrow(_LOAD, projection, topic, partition)
    if row is None:
        raise CheckpointLost(f"{projection} has no generation: migrate the database")
    return Checkpoint(**dict(row))


def moving(inserts: Sequence[str] = ()) -> str:
    """A statement that moves a checkpoint and, only if it does, runs `inserts`.

    Its first parameters are `MOVE_PARAMETERS`; an insert takes rows only `WHERE EXISTS (SELECT
    FROM moved)`. One statement is one transaction in one round trip.
    """
    parts = "".join(f", part_{n} AS (\n{insert}\n)" for n, insert in enumerate(inserts))
    return f"""
WITH moved AS (
    UPDATE hermes.checkpoints
    SET next_offset = $6, first_record = $7
    WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4
      AND next_offset = $5
    RETURNING projection, topic, partition, next_offset
){parts}
SELECT pg_notify(
    '{CHECKPOINTS_CHANNEL}',
    projection || ' ' || topic || ' ' || partition || ' ' || next_offset
)::text FROM moved
"""  # noqa: S608 - names are constants


MOVE_PARAMETERS = 7
MOVE = moving()


async def move(
    connection: asyncpg.Connection,
    checkpoint: Checkpoint,
    next_offset: int,
    first_record: str | None,
    statement: str = MOVE,
    *values: object,
) -> Checkpoint:
    """The checkpoint at `next_offset`; on commit whoever listens is told.

    `statement` is one that `moving` made, `values` are its inserts'. Raises CheckpointLost; then
    nothing was written.
    """
    moved = await connection.fetchval(
        statement,
        checkpoint.projection,
        checkpoint.generation,
        checkpoint.topic,
        checkpoint.partition,
        checkpoint.next_offset,
        next_offset,
        first_record,
        *values,
    )
    if moved is None:
        raise CheckpointLost(
            f"{checkpoint.projection} was moved past {checkpoint.topic}/{checkpoint.partition}/"
            f"{checkpoint.next_offset} by somebody else"
        )
    return msgspec.structs.replace(checkpoint, next_offset=next_offset, first_record=first_record)


async def record_error(
    connection: asyncpg.Connection, checkpoint: Checkpoint, error: str | None
) -> None:
    """Say why the projection stands still here, or with None that it runs again."""
    await connection.execute(
        _SET_ERROR,
        checkpoint.projection,
        checkpoint.generation,
        checkpoint.topic,
        checkpoint.partition,
        error,
    )


async def record_feed_error(pool: asyncpg.Pool, source: Source, error: Exception) -> None:
    """Say why nothing is projected from a partition, where no sink got to say it."""
    async with pool.acquire() as connection:
        for projection in feeding(source.kind):
            checkpoint = await load_checkpoint(
                connection, projection, source.topic, source.partition
            )
            await record_error(connection, checkpoint, describe(error))


def describe(error: Exception) -> str:
    """An error in one bounded line of text."""
    text = f"{type(error).__name__}: {error}".replace("\0", "")
    return text if len(text) <= 2000 else text[:2000] + " …"


_COLUMNS = "projection, generation, topic, partition, next_offset, first_record, error"

# FOR SHARE: a rebuild that replaces the generation waits for this row, or this row for it.
_INSERT_IF_NEW = f"""
WITH active AS (
    SELECT name, generation FROM hermes.projections WHERE name = $1 FOR SHARE
)
INSERT INTO hermes.checkpoints (projection, generation, topic, partition, next_offset)
SELECT name, generation, $2, $3, 0 FROM active
ON CONFLICT DO NOTHING
RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant

_LOAD = f"""
SELECT {_COLUMNS} FROM hermes.checkpoints
WHERE projection = $1 AND topic = $2 AND partition = $3
  AND generation = (SELECT generation FROM hermes.projections WHERE name = $1)
"""  # noqa: S608 - a constant

_SET_ERROR = """
UPDATE hermes.checkpoints SET error = $5
WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4
  AND error IS DISTINCT FROM $5
"""
