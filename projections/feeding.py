"""Keeps a feed running for every partition of the log, those of pools to come too."""

from __future__ import annotations

import asyncio
import logging

import asyncpg

from hermes.settings import Settings
from projections.checkpoints import CheckpointLost, record_feed_error
from projections.definitions import Source
from projections.faults import end_if_cancelled, is_passing
from projections.feed import Feed, Reload
from projections.generations import GENERATIONS_CHANNEL
from projections.interpreters import Interpreter, RegistryInterpreter
from projections.listening import keep_listening
from projections.partition_log import partitions_of
from streams.topics import Topics

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


class Projector:
    """Starts feeds, starts them again after what passes, and tells them of new generations."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._topics = Topics(settings.topic_prefix)
        self._feeds: dict[Source, asyncio.Event] = {}
        self._pools: set[str] = set()
        self._generations: dict[str, int] = {}
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Project until cancelled. Raises a group with CheckpointLost if another projector is at
        work."""
        async with self._group:
            self._group.create_task(
                keep_listening(
                    self._pool, GENERATIONS_CHANNEL, self._reload, self._compare_generations
                )
            )
            self._start(Source("registry", self._topics.registry, 0, ""))
            self._add_pool(self._settings.pool)

    def _add_pool(self, hermes_pool: str) -> None:
        if hermes_pool not in self._pools:
            self._pools.add(hermes_pool)
            self._group.create_task(self._start_pool(hermes_pool))

    async def _start_pool(self, hermes_pool: str) -> None:
        executions = self._topics.executions(hermes_pool)
        self._start(Source("executions", executions, 0, hermes_pool))
        output = self._topics.output(hermes_pool)
        for partition in await self._partitions(output):
            self._start(Source("output", output, partition, hermes_pool))

    async def _partitions(self, topic: str) -> list[int]:
        while True:
            try:
                return await partitions_of(self._settings.bootstrap, topic)
            except Exception as error:
                end_if_cancelled()
                if not is_passing(error):
                    raise
                log.warning("%s: %r; again in %.0f s", topic, error, _LONGEST_PAUSE)
                await asyncio.sleep(_LONGEST_PAUSE)

    def _start(self, source: Source) -> None:
        if source not in self._feeds:
            self._feeds[source] = asyncio.Event()
            self._group.create_task(self._keep_feeding(source, self._feeds[source]))

    async def _keep_feeding(self, source: Source, reload_wanted: asyncio.Event) -> None:
        pause = _FIRST_PAUSE
        while True:
            feed = Feed(self._pool, self._settings.bootstrap, source)
            try:
                await feed.run(reload_wanted, self._look_for_pools)
                await self._wait_for_rebuild(source, reload_wanted)
            except Reload:
                log.info("%s: a generation was replaced", source)
                reload_wanted.clear()
                pause = _FIRST_PAUSE
            except CheckpointLost:
                raise
            except Exception as error:
                end_if_cancelled()
                if is_passing(error):
                    pause = _FIRST_PAUSE if feed.advanced else pause
                    log.warning("%s: %r; again in %.1f s", source, error, pause)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                else:
                    log.error("%s cannot be projected", source, exc_info=error)
                    await record_feed_error(self._pool, source, error)
                    await self._wait_for_rebuild(source, reload_wanted)

    async def _wait_for_rebuild(self, source: Source, reload_wanted: asyncio.Event) -> None:
        log.error("nothing more is projected from %s until a rebuild or a restart", source)
        await reload_wanted.wait()
        reload_wanted.clear()

    def _look_for_pools(self, interpreter: Interpreter) -> None:
        if isinstance(interpreter, RegistryInterpreter):
            for hermes_pool in interpreter.state.pools:
                self._add_pool(hermes_pool)

    def _reload(self, _payload: str = "") -> None:
        for reload_wanted in self._feeds.values():
            reload_wanted.set()

    async def _compare_generations(self) -> None:
        """See whether some were replaced while nobody listened."""
        rows = await self._pool.fetch("SELECT name, generation FROM hermes.projections")
        found = {row["name"]: row["generation"] for row in rows}
        if self._generations not in ({}, found):
            self._reload()
        self._generations = found
