"""The log is everybody's: a plain Kafka tool reads events and output without Hermes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from typing import Any

import pytest

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from streams.log import new_event
from streams.output import headers, partition_of
from tests.integration.log.conftest import Pool
from tests.integration.log.test_fold_of_the_log import a_request

KCAT = shutil.which("kcat") or shutil.which("kafkacat")
pytestmark = pytest.mark.skipif(
    KCAT is None, reason="kcat is not installed (Debian: apt install kafkacat)"
)


async def kcat(pool: Pool, topic: str, *more: str) -> list[dict[str, Any]]:
    """What kcat prints of a topic, from its start to its end, one JSON envelope per record."""
    assert KCAT is not None
    process = await asyncio.create_subprocess_exec(
        KCAT, "-C", "-J", "-e", "-q", "-o", "beginning", "-b", pool.settings.bootstrap, "-t", topic,
        *more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.decode().splitlines()]


async def test_kcat_reads_events_as_plain_json(pool: Pool) -> None:
    data = a_request()
    sent = [
        new_event(data, "user:ada", correlation_id=data.execution_id),
        new_event(
            ev.ExecutionQueued(execution_id=data.execution_id, reason="é \N{GRINNING FACE}"), "s"
        ),
    ]
    for event in sent:
        await pool.writer.append(pool.executions, data.execution_id, event)
    records = await kcat(pool, pool.executions)
    assert [record["offset"] for record in records] == [0, 1]
    assert {record["key"] for record in records} == {data.execution_id}
    first, second = (json.loads(record["payload"]) for record in records)
    assert set(first) == {
        "id", "kind", "occurred_at", "actor", "causation_id", "correlation_id", "data",
    }  # fmt: skip
    assert (first["id"], first["kind"], first["actor"]) == (
        sent[0].id,
        "execution.requested/1",
        "user:ada",
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["occurred_at"])
    assert first["data"]["execution_id"] == data.execution_id
    assert first["data"]["kind"] == "run"
    assert second["data"]["reason"] == "é \N{GRINNING FACE}"


async def test_kcat_reads_output_with_its_headers(pool: Pool) -> None:
    execution_id = new_id()
    partition = partition_of(execution_id, pool.settings.output_partitions)
    pieces = [b"line 1\n", b"line 2\n"]
    at = 0
    for seq, piece in enumerate(pieces):
        await pool.writer.acknowledged(
            await pool.writer.send(
                pool.output,
                execution_id,
                piece,
                partition=partition,
                headers=headers(
                    attempt=1,
                    seq=seq,
                    stream="stdout",
                    offset=at,
                    time="2026-01-01T00:00:00.000000Z",
                    after=7,
                ),
            )
        )
        at += len(piece)
    records = await kcat(pool, pool.output)
    assert "".join(record["payload"] for record in records).encode() == b"".join(pieces)
    assert {record["partition"] for record in records} == {partition}
    found = records[1]["headers"]
    assert dict(zip(found[::2], found[1::2], strict=True)) == {
        "attempt": "1",
        "seq": "1",
        "stream": "stdout",
        "offset": "7",
        "time": "2026-01-01T00:00:00.000000Z",
        "after": "7",
    }


async def test_a_producer_that_knows_nothing_of_hermes_picks_the_same_partition(
    pool: Pool,
) -> None:
    """`partition_of` is Kafka's own rule for keys, so any tool finds an execution's output."""
    assert KCAT is not None
    ids = [new_id() for _ in range(12)]
    process = await asyncio.create_subprocess_exec(
        KCAT, "-P", "-b", pool.settings.bootstrap, "-t", pool.output, "-K", "\t",
        "-X", "topic.partitioner=murmur2",
        stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(20):
        await process.communicate("".join(f"{one}\tx\n" for one in ids).encode())
    assert process.returncode == 0
    records = await kcat(pool, pool.output)
    assert {record["key"]: record["partition"] for record in records} == {
        one: partition_of(one, pool.settings.output_partitions) for one in ids
    }


async def test_binary_output_survives_kcat(pool: Pool) -> None:
    assert KCAT is not None
    data = bytes(range(256)) * 1024
    execution_id = new_id()
    await pool.writer.acknowledged(
        await pool.writer.send(pool.output, execution_id, data, partition=0)
    )
    process = await asyncio.create_subprocess_exec(
        KCAT, "-C", "-e", "-q", "-D", "", "-o", "beginning", "-b", pool.settings.bootstrap,
        "-t", pool.output, "-p", "0",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    assert hashlib.sha256(out).hexdigest() == hashlib.sha256(data).hexdigest()
