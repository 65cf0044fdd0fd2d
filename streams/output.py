"""Records of the output topic: raw bytes as the value, what they are in ASCII headers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, cast

import msgspec
from aiokafka.partitioner import murmur2
from aiokafka.structs import ConsumerRecord

Stream = Literal["stdin", "stdout", "stderr"]
STREAMS = ("stdin", "stdout", "stderr")
MAX_CHUNK = 256 * 1024


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What a program wrote at once. `offset` is in the stream, `after` the offset in the pool's
    topic that the agent had folded: the chunk stands behind that event."""

    execution_id: str
    attempt: int
    seq: int
    stream: Stream
    offset: int
    time: str
    after: int
    data: bytes


def headers(
    *, attempt: int, seq: int, stream: Stream, offset: int, time: str, after: int
) -> list[tuple[str, bytes]]:
    """The headers of a chunk."""
    return [
        ("attempt", b"%d" % attempt),
        ("seq", b"%d" % seq),
        ("stream", stream.encode()),
        ("offset", b"%d" % offset),
        ("time", time.encode()),
        ("after", b"%d" % after),
    ]


def chunk(record: ConsumerRecord) -> Chunk | None:
    """The chunk in a record; None for what no agent of Hermes wrote."""
    found = dict(cast(Iterable[tuple[str, bytes]], record.headers or ()))
    try:
        stream = found["stream"].decode()
        if stream not in STREAMS:
            return None
        time = found["time"].decode()
        datetime.fromisoformat(time)
        return Chunk(
            execution_id=(record.key or b"").decode(),
            attempt=int(found["attempt"]),
            seq=int(found["seq"]),
            stream=cast(Stream, stream),
            offset=int(found["offset"]),
            time=time,
            after=int(found["after"]),
            data=record.value or b"",
        )
    except (KeyError, ValueError, UnicodeError):
        return None


def partition_of(execution_id: str, partitions: int) -> int:
    """The output partition of an execution, by Kafka's own rule, so any producer agrees."""
    return int(murmur2(execution_id.encode()) & 0x7FFFFFFF) % partitions
