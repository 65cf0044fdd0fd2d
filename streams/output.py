"""Records of the output topic: raw bytes as the value, what they are in ASCII headers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, cast

import msgspec
from aiokafka.partitioner import murmur2
from aiokafka.structs import ConsumerRecord

from hermes.domain.ids import is_id

Stream = Literal["stdin", "stdout", "stderr"]
STREAMS = ("stdin", "stdout", "stderr")
MAX_CHUNK = 256 * 1024
_NUMBER = re.compile(rb"[0-9]{1,19}\Z")


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
        time = found["time"].decode("ascii")
        execution_id = (record.key or b"").decode()
        if datetime.fromisoformat(time).tzinfo is None or not is_id(execution_id):
            return None
        return Chunk(
            execution_id=execution_id,
            attempt=_number(found["attempt"]),
            seq=_number(found["seq"]),
            stream=cast(Stream, stream),
            offset=_number(found["offset"]),
            time=time,
            after=_number(found["after"]),
            data=record.value or b"",
        )
    except (KeyError, ValueError, UnicodeError):
        return None


def _number(text: bytes) -> int:
    if not _NUMBER.match(text) or (number := int(text)) >= 2**63:
        raise ValueError(text)
    return number


def partition_of(execution_id: str, partitions: int) -> int:
    """The output partition of an execution, by Kafka's own rule, so any producer agrees."""
    return int(murmur2(execution_id.encode()) & 0x7FFFFFFF) % partitions
