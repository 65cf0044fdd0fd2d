"""A broker whose host is gone does not say so: after a while it is left alone, another is asked."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import msgspec
import pytest

from hermes.settings import Settings
from streams import client
from streams.log import LogWriter, PartitionReader
from streams.topics import ensure_topics
from tests.integration.log.conftest import Pool

PATIENCE = 0.5
# Far less than aiokafka's own patience, 40 s, and more than any of these takes.
SOON = 10.0


@pytest.fixture
def silent_then_alive(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A broker that takes connections and never says a word, and after it Kafka."""
    monkeypatch.setitem(client.CLIENT, "request_timeout_ms", int(PATIENCE * 1000))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        kafka = f"127.0.0.1:{port},{pool.settings.bootstrap}"
        yield msgspec.structs.replace(pool.settings, kafka=kafka)


async def test_a_writer_and_a_reader_find_the_broker_that_answers(
    pool: Pool, silent_then_alive: Settings
) -> None:
    began = time.monotonic()
    bootstrap = silent_then_alive.bootstrap
    async with (
        LogWriter(bootstrap, timeout=SOON) as writer,
        PartitionReader(bootstrap, pool.executions) as reader,
    ):
        await writer.acknowledged(await writer.send(pool.executions, "key", b"heard"))
        [record] = await reader.batch(wait=SOON)
        assert record.value == b"heard"
        # Over a connection of its own: a fetch may be under way.
        assert await reader.end_offset() == 1
    assert time.monotonic() - began < SOON


async def test_the_topics_are_declared_at_the_broker_that_answers(
    silent_then_alive: Settings,
) -> None:
    async with asyncio.timeout(SOON):
        await ensure_topics(silent_then_alive, "another")
