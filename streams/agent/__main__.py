"""`python -m streams.agent`: the agent's process."""

from __future__ import annotations

import asyncio
import contextlib

from hermes.domain.ids import new_id
from hermes.domain.pool import Applied, PoolState
from hermes.errors import LogUnavailable
from hermes.readiness import report_ready
from hermes.runtime import run_role, serve
from hermes.settings import Settings
from infra.blobs import BlobStore
from streams.agent.artifacts import ArtifactCache
from streams.agent.deletions import WAIT_MS, Deletions
from streams.agent.enclosure import enclose
from streams.agent.gpu_find import find_gpus
from streams.agent.gpu_keeper import GpuKeeper
from streams.agent.gpu_reports import LogReports
from streams.agent.host import Host
from streams.agent.inventory import take_inventory
from streams.agent.role import Agent
from streams.agent.stdin import InputSource
from streams.doorbell import Doorbell
from streams.fold import LogFold
from streams.log import LogWriter, PartitionReader, patiently
from streams.snapshots import Snapshots
from streams.topics import Topics, ensure_topics

OUTPUT_BATCH = 1024 * 1024
OUTPUT_ENDS_AGE = 30.0


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Serve `settings.pool` as `settings.agent` until `stop`."""
    folder = settings.home / "agents" / settings.agent
    spool = folder / "spool"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    spool.mkdir(exist_ok=True)
    blobs = BlobStore(settings.blobs_url)
    artifacts = ArtifactCache(folder / "artifacts", blobs)
    artifacts.open()
    enclosure = await enclose(settings, artifacts.keep)
    topics = Topics(settings.topic_prefix)
    topic = topics.executions(settings.pool)
    output_topic = topics.output(settings.pool)
    library, gpus = await find_gpus(settings)
    inventory = await take_inventory(settings, enclosure, gpus)
    await patiently(lambda: ensure_topics(settings, settings.pool), "Kafka")
    events = LogWriter(settings.bootstrap, timeout=settings.append_timeout)
    output = LogWriter(
        settings.bootstrap, timeout=settings.append_timeout, batch_bytes=OUTPUT_BATCH
    )
    await events.start()
    await output.start()
    reader = PartitionReader(settings.bootstrap, topic)
    fold: LogFold[PoolState, Applied] = LogFold(
        PoolState(pool=settings.pool, topic=topic), reader, topic
    )
    await fold.start(Snapshots(blobs).restore)
    incarnation = new_id()
    keeper = GpuKeeper(
        library, gpus, LogReports(fold, events, settings.agent, incarnation), settings.gpu_recheck
    )
    host = Host(
        settings=settings,
        incarnation=incarnation,
        fold=fold,
        events=events,
        output=output,
        output_topic=output_topic,
        output_ends=[
            await reader.end_offset_of(output_topic, partition)
            for partition in await output.partitions(output_topic)
        ],
        sandbox=enclosure.sandbox,
        toolchains=enclosure.toolchains,
        blobs=blobs,
        artifacts=artifacts,
        inputs=InputSource(settings.bootstrap, blobs, spool),
        spool=spool,
        gpus=keeper,
    )
    deletions = Deletions(
        PartitionReader(settings.bootstrap, topics.registry, max_wait_ms=WAIT_MS),
        enclosure.sandbox.forget,
    )
    agent = Agent(host, topics.heartbeats(settings.pool), inventory)
    # A group of its own for each boot: there is no old member to wait for.
    doorbell = Doorbell(
        f"{settings.topic_prefix}-agent-{settings.agent}-{incarnation}",
        settings.bootstrap,
        [fold],
        agent.ring,
    )
    await agent.join()
    await doorbell.start()
    report_ready()
    reason = "crashed"
    try:
        await serve(
            stop,
            [
                agent.tick(),
                agent.heartbeats(),
                follow_output_ends(host, reader),
                deletions.follow(),
                keeper.watch(),
                events.watch(),
                output.watch(),
                doorbell.watch(),
            ],
        )
        reason = "stopped"
    finally:
        await agent.leave(reason)
        await doorbell.stop()
        await enclosure.close()
        keeper.close()
        await deletions.stop()
        await host.inputs.close()
        await fold.stop()
        await output.stop()
        await events.stop()


async def follow_output_ends(host: Host, reader: PartitionReader) -> None:
    """Keep what this agent knows of the output's ends fresh, for ever.

    Other agents of the pool write there too, and a late tail reads from the end that the start of
    its execution names.
    """
    while True:
        await asyncio.sleep(OUTPUT_ENDS_AGE)
        for partition in range(len(host.output_ends)):
            with contextlib.suppress(LogUnavailable):
                end = await reader.end_offset_of(host.output_topic, partition)
                host.output_ends[partition] = max(host.output_ends[partition], end)


if __name__ == "__main__":
    run_role("agent", main)
