"""A log and a database of its own for each test, and a projector that can be killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

from hermes.domain import codec
from hermes.domain.events import EventData
from hermes.domain.resources import Position
from hermes.settings import Settings
from projections.comparison import Difference
from projections.migrate import migrate
from projections.rebuild import Rebuilt, rebuild_and_report
from projections.verify import verify
from projections.views import ProjectionStatus, Views
from streams.log import LogWriter, PartitionReader, new_event
from streams.topics import Topics, ensure_topics
from tests.support.cluster import Cluster

_numbers = itertools.count(1)


class Stage:
    """What a test of projections needs: settings, the log to append to, and the views."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = Topics(settings.topic_prefix)
        self.writer = LogWriter(settings.bootstrap, timeout=20, batch_bytes=1024 * 1024)
        self._projectors: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Stage:
        await ensure_topics(self.settings, "default")
        await migrate(self.settings.database_url)
        await self.writer.start()
        self.database = await asyncpg.create_pool(
            self.settings.database_url, min_size=1, max_size=4
        )
        self.views = Views(self.database)
        await self.views.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._projectors:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await self.views.stop()
        await self.database.close()
        await self.writer.stop()

    @property
    def executions(self) -> str:
        return self.topics.executions("default")

    async def append(self, topic: str, pairs: Sequence[tuple[str, EventData]]) -> Position:
        """Append (key, fact) pairs; the position of the last."""
        return await self.append_raw(
            topic, [(key, codec.encode(new_event(data, "test"))) for key, data in pairs]
        )

    async def append_raw(self, topic: str, pairs: Sequence[tuple[str, bytes]]) -> Position:
        futures = [await self.writer.send(topic, key, value, partition=0) for key, value in pairs]
        positions = [await self.writer.acknowledged(future) for future in futures]
        return positions[-1]

    async def run_executions(self, *facts: EventData) -> Position:
        """Append to the default pool's topic, keyed as these facts are."""
        return await self.append(
            self.executions,
            [(getattr(f, "execution_id", None) or getattr(f, "agent", ""), f) for f in facts],
        )

    async def start_projector(self) -> asyncio.subprocess.Process:
        """A projector process that has reported ready."""
        reading, writing = os.pipe()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "projections.projector",
            env={
                "PATH": os.environ["PATH"],
                "HERMES_HOME": str(self.settings.home),
                "HERMES_KAFKA": self.settings.bootstrap,
                "HERMES_DATABASE": self.settings.database_url,
                "HERMES_TOPIC_PREFIX": self.settings.topic_prefix,
                "HERMES_READY_FD": str(writing),
            },
            pass_fds=(writing,),
            cwd=Path(__file__).parents[3],
        )
        self._projectors.append(process)
        os.close(writing)
        try:
            line = await asyncio.wait_for(asyncio.to_thread(os.read, reading, 16), 30)
        finally:
            os.close(reading)
        assert line == b"ready\n"
        return process

    async def stop_projector(self, process: asyncio.subprocess.Process) -> int:
        process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(process.wait(), 10)

    async def rebuild(self, name: str) -> Rebuilt:
        """In this process, without a projector's help."""
        return await rebuild_and_report(self.settings, name)

    async def differences(self) -> list[Difference]:
        return await verify(self.settings.database_url, self.settings.bootstrap, self.settings)

    async def status(self, name: str) -> ProjectionStatus:
        async def ends(partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
            async with PartitionReader(self.settings.bootstrap, self.executions) as reader:
                return {p: await reader.end_offset_of(*p) for p in partitions}

        found = await self.views.projection_status(ends)
        return next(status for status in found if status.name == name)

    async def status_becomes(
        self, name: str, wanted: Callable[[ProjectionStatus], bool], within: float = 20.0
    ) -> ProjectionStatus:
        async with asyncio.timeout(within):
            while not wanted(status := await self.status(name)):
                await asyncio.sleep(0.1)
        return status

    async def kill_projector(self, process: asyncio.subprocess.Process) -> None:
        process.kill()
        await process.wait()


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        kafka=cluster.kafka,
        database=cluster.new_database(),
        topic_prefix=f"{cluster.topic_prefix}-p{next(_numbers)}",
        output_partitions=2,
    )


@pytest.fixture
async def stage(settings: Settings) -> AsyncIterator[Stage]:
    async with Stage(settings) as running:
        yield running
