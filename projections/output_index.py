"""From output records to the rows of their index; the bytes stay in the log. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from aiokafka.structs import ConsumerRecord

from hermes.domain.ids import is_id
from projections.interpreters import Folded
from projections.rows import OutputChunkRow, RefusedOutputRow, clean
from projections.writer import Rows
from streams.output import MAX_CHUNK, chunk

_BIGINT = 2**63


class OutputInterpreter:
    """A partition of an output topic. It has no state but where it stands."""

    def __init__(self, next_offset: int = 0) -> None:
        self._next_offset = next_offset

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        return self._next_offset

    def take(self, raw: ConsumerRecord) -> Folded:
        """See Interpreter. The bytes are let go at once."""
        self._next_offset = raw.offset + 1
        return Folded(_output_row(raw) or _refused_row(raw), None)

    def rows(self, projection: str, folded: Sequence[Folded]) -> Rows:
        """See Interpreter."""
        rows = [item.record for item in folded]
        return {
            "output_chunks": [row for row in rows if isinstance(row, OutputChunkRow)],
            "refused_output": [row for row in rows if isinstance(row, RefusedOutputRow)],
        }


def _output_row(raw: ConsumerRecord) -> OutputChunkRow | None:
    found = chunk(raw)
    if found is None or not is_id(found.execution_id) or len(found.data) > MAX_CHUNK:
        return None
    time = _utc(found.time)
    numbers = (found.attempt, found.seq, found.offset, found.after)
    if time is None or not all(-1 <= number < _BIGINT for number in numbers):
        return None
    return OutputChunkRow(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        execution_id=found.execution_id,
        attempt=found.attempt,
        seq=found.seq,
        stream=found.stream,
        stream_offset=found.offset,
        length=len(found.data),
        time=time,
        after=found.after,
    )


def _utc(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _refused_row(raw: ConsumerRecord) -> RefusedOutputRow:
    return RefusedOutputRow(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        key=clean((raw.key or b"")[:200].decode("utf-8", "replace")),
        length=len(raw.value or b""),
    )
