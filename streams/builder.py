"""The builder role: turns `registered` into an execution of kind build, and its end into `built`.

Level-triggered and idempotent: what is owed follows from the folded registry and pool, the build's
id follows from the registration, and a second copy of any event is superseded.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging

from aiokafka.errors import KafkaError

from hermes.domain import events as ev
from hermes.domain.events import Recorded
from hermes.domain.pool import Applied, Ended, PoolState
from hermes.domain.registry import FunctionState, RegistryApplied, RegistryState
from hermes.domain.resources import Input
from hermes.errors import LogUnavailable
from hermes.readiness import report_ready
from hermes.runtime import run_role, serve
from hermes.settings import Settings
from infra.blobs import BlobStore
from streams.doorbell import Doorbell
from streams.fold import LogFold
from streams.log import LogWriter, PartitionReader, new_event, patiently
from streams.snapshots import Snapshots
from streams.topics import Topics, ensure_topics

log = logging.getLogger(__name__)

TICK = 0.5
POOL_WAIT_MS = 500
POOL_GATHER = 0.05
ACTOR = "builder"
EMPTY = Input(bytes=0, sha256=hashlib.sha256(b"").hexdigest())


class Builder:
    """Builds run in `settings.pool`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        topics = Topics(settings.topic_prefix)
        pool_topic = topics.executions(settings.pool)
        self.registry: LogFold[RegistryState, RegistryApplied] = LogFold(
            RegistryState(topic=topics.registry),
            PartitionReader(settings.bootstrap, topics.registry),
            topics.registry,
        )
        self.pool: LogFold[PoolState, Applied] = LogFold(
            PoolState(pool=settings.pool, topic=pool_topic),
            # Of all that stands there only the ends of builds matter here, which can wait a moment:
            # a fetch for many events, where a doorbell would ring for each of every run's.
            PartitionReader(settings.bootstrap, pool_topic, max_wait_ms=POOL_WAIT_MS),
            pool_topic,
        )
        self.pool.listen(self._folded)
        self.writer = LogWriter(settings.bootstrap, timeout=settings.append_timeout)
        self._wake = asyncio.Event()

    def ring(self) -> None:
        """News stand in the registry."""
        self._wake.set()

    def _folded(self, record: Recorded, applied: Applied) -> None:
        if applied.execution is not None and applied.execution.kind == "build":
            self._wake.set()

    async def run(self) -> None:
        """React, for ever."""
        while True:
            rung = True
            try:
                await asyncio.wait_for(self._wake.wait(), TICK)
            except TimeoutError:
                rung = False
            self._wake.clear()
            try:
                if not rung:
                    await self.registry.catch_up()
                await self._react()
            except (LogUnavailable, KafkaError) as error:
                log.warning("cannot go on now: %s", error)
                await asyncio.sleep(TICK)

    async def _react(self) -> None:
        owed = [
            function
            for versions in self.registry.state.functions.values()
            for function in versions.values()
            if function.status == "registered"
        ]
        for function in owed:
            ended = self.pool.state.ended.get(function.build_id)
            if ended is not None:
                await self._report(function, ended)
            elif function.build_id not in self.pool.state.live:
                await self._request(function)

    async def _request(self, function: FunctionState) -> None:
        config = function.config
        data = ev.ExecutionRequested(
            execution_id=function.build_id,
            execution_kind="build",
            function=f"{function.owner}/{function.name}",
            version=function.version,
            artifact_sha256=None,
            source_sha256=function.source_sha256,
            handler=str(config.get("handler", "")),
            language=str(config.get("language", "")),
            owner=function.owner,
            owner_id=function.owner_id,
            pool=self._settings.pool,
            input=EMPTY,
            limits=self._settings.build_limits,
            gpu=None,
            retries=self._settings.attempts - 1,
        )
        event = new_event(data, ACTOR, correlation_id=function.registered_event)
        _, verdict = await self.pool.append(self.writer, function.build_id, event)
        known = self.pool.state
        if (
            verdict.superseded
            and function.build_id not in known.live
            and function.build_id not in known.ended
        ):
            # Only the log's own clock tells that a build comes too late, and the fold has it.
            refused = Ended("rejected", None, reason=f"its build was refused: {verdict.misfit}")
            await self._report(function, refused)

    async def _report(self, function: FunctionState, ended: Ended) -> None:
        data: ev.EventData
        if ended.outcome == "succeeded" and ended.artifact_sha256 is not None:
            data = ev.FunctionBuilt(
                version=function.version,
                build_id=function.build_id,
                artifact_sha256=ended.artifact_sha256,
                toolchain=ended.toolchain or "",
            )
        else:
            data = ev.FunctionBuildFailed(
                version=function.version,
                build_id=function.build_id,
                exit_code=ended.exit_code,
                reason=ended.reason or ended.outcome or ended.status,
            )
        event = new_event(data, ACTOR, correlation_id=function.registered_event)
        key = f"{function.owner}/{function.name}"
        await self.writer.append(self.registry.topic, key, event)
        await self.registry.catch_up()


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Run the builder until `stop`."""
    await patiently(lambda: ensure_topics(settings, settings.pool), "Kafka")
    builder = Builder(settings)
    await builder.writer.start()
    await builder.registry.start()
    await builder.pool.start(Snapshots(BlobStore(settings.blobs_url)).restore)
    doorbell = Doorbell(
        f"{settings.topic_prefix}-builder",
        settings.bootstrap,
        [builder.registry],
        builder.ring,
    )
    await doorbell.start()
    report_ready()
    try:
        await serve(
            stop,
            [
                builder.run(),
                builder.pool.follow(POOL_GATHER),
                builder.writer.watch(),
                doorbell.watch(),
            ],
        )
    finally:
        await doorbell.stop()
        await builder.pool.stop()
        await builder.registry.stop()
        await builder.writer.stop()


if __name__ == "__main__":
    run_role("builder", main)
