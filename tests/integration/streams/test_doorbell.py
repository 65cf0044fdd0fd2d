"""Faust as a doorbell: it rings in the role's own loop, and leaves the role's tasks alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.domain import events as ev
from hermes.domain.pool import Applied, PoolState
from hermes.settings import Settings
from streams.doorbell import Doorbell
from streams.fold import LogFold
from streams.log import LogWriter, PartitionReader, new_event
from streams.topics import Topics, ensure_topics
from tests.support.cluster import Cluster

POOL = "doorbell"


class Follower:
    """A fold that a doorbell keeps up to date."""

    def __init__(self, settings: Settings, group: str) -> None:
        self.topic = Topics(settings.topic_prefix).executions(POOL)
        self.fold: LogFold[PoolState, Applied] = LogFold(
            PoolState(pool=POOL, topic=self.topic),
            PartitionReader(settings.bootstrap, self.topic),
            self.topic,
        )
        self.threads: set[int] = set()
        self.owns = asyncio.Event()
        self.doorbell = Doorbell(group, settings.bootstrap, [self.fold], self._ring, self._assigned)

    def _ring(self) -> None:
        self.threads.add(threading.get_ident())

    async def _assigned(self, mine: bool) -> None:
        if mine:
            self.owns.set()
        else:
            self.owns.clear()

    async def __aenter__(self) -> Follower:
        await self.fold.start()
        await self.doorbell.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.doorbell.stop()
        await self.fold.stop()

    async def rings_for(self, writer: LogWriter) -> None:
        """Append an event and see it folded."""
        event = new_event(ev.SchedulerTookOver(scheduler="s", epoch=1), "test")
        position = await writer.append(self.topic, POOL, event)
        assert await self.fold.reached(position.offset, timeout=10)


@pytest.fixture
async def settings(cluster: Cluster, tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path, kafka=cluster.kafka, topic_prefix=cluster.topic_prefix)
    await ensure_topics(settings, POOL)
    return settings


@pytest.fixture
async def writer(settings: Settings) -> AsyncIterator[LogWriter]:
    async with LogWriter(settings.bootstrap, timeout=10) as writer:
        yield writer


async def test_it_rings_in_the_loop_of_the_role(settings: Settings, writer: LogWriter) -> None:
    threads = threading.active_count()
    async with Follower(settings, "rings") as follower:
        async with asyncio.timeout(20):
            await follower.owns.wait()
        for _ in range(3):
            await follower.rings_for(writer)
        assert threading.active_count() <= threads + 1  # name resolution may take one
        assert follower.threads == {threading.get_ident()}


async def test_a_stopped_doorbell_leaves_the_tasks_of_the_role(
    settings: Settings, writer: LogWriter
) -> None:
    other = asyncio.create_task(asyncio.sleep(60))
    async with asyncio.timeout(30):
        async with Follower(settings, "stops") as follower:
            await follower.owns.wait()
    assert not other.done()
    other.cancel()


async def test_the_partition_passes_to_who_is_left(settings: Settings, writer: LogWriter) -> None:
    async with asyncio.timeout(60):
        async with Follower(settings, "passes") as first:
            await first.owns.wait()
            second = await Follower(settings, "passes").__aenter__()
            try:
                await first.doorbell.stop()
                await second.owns.wait()
                await second.rings_for(writer)
            finally:
                await second.__aexit__()


async def test_it_leaves_nothing_in_the_folder_that_it_runs_in(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    async with asyncio.timeout(30):
        async with Follower(settings, "tidy") as follower:
            await follower.owns.wait()
    assert list(folder.iterdir()) == []
