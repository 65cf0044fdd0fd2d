"""A pool of its own for every test, on the shared Kafka."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from hermes.settings import Settings
from streams.log import LogWriter, PartitionReader
from streams.topics import Topics, ensure_topics
from tests.support.cluster import Cluster


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Topics of their own, and a writer to them."""

    settings: Settings
    topics: Topics
    writer: LogWriter

    @property
    def executions(self) -> str:
        return self.topics.executions(self.settings.pool)

    @property
    def output(self) -> str:
        return self.topics.output(self.settings.pool)

    def reader(self, topic: str | None = None, partition: int = 0) -> PartitionReader:
        return PartitionReader(self.settings.bootstrap, topic or self.executions, partition)


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, kafka=cluster.kafka, topic_prefix=f"test-{secrets.token_hex(4)}")


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    await ensure_topics(settings, settings.pool)
    async with LogWriter(settings.bootstrap, timeout=10.0) as writer:
        yield Pool(settings=settings, topics=Topics(settings.topic_prefix), writer=writer)
