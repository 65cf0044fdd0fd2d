"""Records of the output topic: what an agent writes is read back; what a stranger wrote is not."""

from __future__ import annotations

import pytest
from aiokafka.structs import ConsumerRecord

from streams.output import STREAMS, Stream, chunk, headers, partition_of
from tests.unit.domain.making import id_at

X = id_at(1)


def record(
    found: list[tuple[str, bytes]], key: bytes | None = X.encode(), value: bytes | None = b"data"
) -> ConsumerRecord:
    return ConsumerRecord(
        topic="hermes.output.default",
        partition=0,
        offset=9,
        timestamp=0,
        timestamp_type=1,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=found,
    )


def described(stream_: Stream = "stdout", **changes: bytes) -> list[tuple[str, bytes]]:
    made = dict(
        headers(
            attempt=2,
            seq=5,
            stream=stream_,
            offset=70,
            time="2026-01-01T00:00:00.000000Z",
            after=31,
        )
    )
    return list((made | changes).items())


@pytest.mark.parametrize("stream", STREAMS)
def test_what_was_written_is_read(stream: Stream) -> None:
    found = chunk(record(described(stream)))
    assert found is not None
    assert (found.execution_id, found.attempt, found.seq) == (X, 2, 5)
    assert (found.stream, found.offset, found.after, found.data) == (stream, 70, 31, b"data")


def test_headers_are_ascii_text() -> None:
    assert described() == [
        ("attempt", b"2"),
        ("seq", b"5"),
        ("stream", b"stdout"),
        ("offset", b"70"),
        ("time", b"2026-01-01T00:00:00.000000Z"),
        ("after", b"31"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": b"stdlog"},
        {"stream": b"\xff"},
        {"attempt": b"one"},
        {"attempt": b""},
        {"attempt": b"-1"},
        {"attempt": b"1_0"},
        {"attempt": b" 1"},
        {"seq": b"-1"},
        {"seq": b"1.0"},
        {"seq": b"9" * 5000},
        {"seq": b"9" * 20},
        {"offset": b"-5"},
        {"offset": b"0x10"},
        {"after": "\N{ARABIC-INDIC DIGIT ONE}".encode()},
        {"time": b"now"},
        {"time": b""},
        {"time": b"2026-01-01"},
        {"time": b"2026-01-01T00:00:00"},
        {"time": b"\x1b[31m"},
    ],
)
def test_headers_that_no_agent_writes_are_no_chunk(changes: dict[str, bytes]) -> None:
    assert chunk(record(described(**changes))) is None


@pytest.mark.parametrize("missing", ["attempt", "seq", "stream", "offset", "time", "after"])
def test_a_record_without_one_of_its_headers_is_no_chunk(missing: str) -> None:
    assert chunk(record([one for one in described() if one[0] != missing])) is None


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe"])
def test_a_record_of_no_execution_is_no_chunk(key: bytes | None) -> None:
    assert chunk(record(described(), key=key)) is None


def test_an_execution_has_one_partition_and_executions_have_many() -> None:
    ids = [id_at(n) for n in range(200)]
    assert [partition_of(one, 4) for one in ids] == [partition_of(one, 4) for one in ids]
    assert {partition_of(one, 4) for one in ids} == {0, 1, 2, 3}
    assert {partition_of(one, 1) for one in ids} == {0}
