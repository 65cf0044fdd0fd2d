"""Plays builder, scheduler and agent by appending their events itself; runs nothing."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Any, Self

from hermes.domain import codec
from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.resources import Input, Inventory, Limits, Position, StreamDigest, Usage
from hermes.settings import Settings
from streams.log import LogWriter, PartitionReader, new_event
from streams.output import headers, partition_of
from streams.topics import Topics

ARTIFACT = hashlib.sha256(b"artifact").hexdigest()


class FakeAgent:
    """One agent of the pool `default`; every method appends and returns."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.topic_prefix)
        self._writer = LogWriter(settings.bootstrap, timeout=20, batch_bytes=1024 * 1024)
        self._seqs: dict[tuple[str, int], int] = {}
        self._streams: dict[tuple[str, int, str], bytes] = {}

    async def __aenter__(self) -> Self:
        await self._writer.start()
        await self.append(
            "fake",
            ev.AgentJoined(
                agent="fake",
                incarnation="first",
                inventory=Inventory(slots=4, cpus=2.0, memory=2**30, sandbox="fake", version="0"),
            ),
        )
        await self.append("fake", ev.SchedulerTookOver(scheduler="fake", epoch=1))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._writer.stop()

    async def append(self, key: str, data: ev.EventData) -> int:
        """Append to the pool's topic; the offset."""
        topic = self._topics.executions("default")
        return (await self._writer.append(topic, key, new_event(data, "fake"))).offset

    async def builds(self, function: dict[str, Any]) -> Position:
        """Say that a registered function was built."""
        data = ev.FunctionBuilt(
            version=function["version"],
            build_id=function["build_id"],
            artifact_sha256=ARTIFACT,
            toolchain="none",
        )
        key = f"{function['owner']}/{function['name']}"
        return await self._writer.append(self._topics.registry, key, new_event(data, "fake"))

    async def starts(self, execution_id: str, attempt: int = 1) -> int:
        """Schedule, claim and start an attempt; the offset of `started`."""
        await self.append(
            execution_id,
            ev.ExecutionScheduled(
                execution_id=execution_id,
                attempt=attempt,
                agent="fake",
                incarnation="first",
                epoch=1,
                gpus=(),
                lease=10.0,
            ),
        )
        await self.append(
            execution_id,
            ev.ExecutionClaimed(
                execution_id=execution_id, attempt=attempt, agent="fake", incarnation="first"
            ),
        )
        partition = await self._partition(execution_id)
        return await self.append(
            execution_id,
            ev.ExecutionStarted(
                execution_id=execution_id,
                attempt=attempt,
                agent="fake",
                output_partition=partition,
                output_offset=await self.output_end(execution_id),
            ),
        )

    async def writes(
        self,
        execution_id: str,
        data: bytes,
        *,
        after: int,
        stream: Any = "stdout",
        attempt: int = 1,
        seq: int | None = None,
    ) -> Position:
        """Append a chunk of output."""
        key = (execution_id, attempt)
        if seq is None:
            seq = self._seqs.get(key, -1) + 1
            self._seqs[key] = seq
        written = self._streams.get((*key, stream), b"")
        self._streams[*key, stream] = written + data
        future = await self._writer.send(
            self._topics.output("default"),
            execution_id,
            data,
            partition=await self._partition(execution_id),
            headers=headers(
                attempt=attempt,
                seq=seq,
                stream=stream,
                offset=len(written),
                time=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                after=after,
            ),
        )
        return await self._writer.acknowledged(future)

    def wrote(self, execution_id: str, *, last_seq: int, attempt: int = 1) -> None:
        """Claim to have written up to this seq."""
        self._seqs[execution_id, attempt] = last_seq

    async def finishes(
        self, execution_id: str, *, attempt: int = 1, outcome: str = "succeeded", code: int = 0
    ) -> int:
        """Append `finished`; the offset."""
        streams = {
            name: self._streams.get((execution_id, attempt, name), b"")
            for name in ("stdout", "stderr")
        }
        return await self.append(
            execution_id,
            ev.ExecutionFinished(
                execution_id=execution_id,
                attempt=attempt,
                outcome=outcome,
                exit_code=code,
                signal=None,
                usage=Usage(
                    wall_time=0.1,
                    cpu_time=0.1,
                    peak_memory=1,
                    output_bytes=sum(map(len, streams.values())),
                ),
                last_seq=self._seqs.get((execution_id, attempt), -1),
                output={
                    name: StreamDigest(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
                    for name, data in streams.items()
                },
            ),
        )

    async def ends_unheld(self, execution_id: str, outcome: str = "cancelled") -> int:
        """End, as the scheduler does, what no agent holds."""
        return await self.append(
            execution_id,
            ev.ExecutionFinished(
                execution_id=execution_id,
                attempt=0,
                outcome=outcome,
                exit_code=None,
                signal=None,
                usage=None,
                last_seq=-1,
                output={},
            ),
        )

    async def ends_others(self, count: int) -> Position:
        """Request and cancel as many executions of somebody else; where the last event stands."""
        topic = self._topics.executions("default")
        sent = []
        for _ in range(count):
            execution_id = new_id()
            requested = ev.ExecutionRequested(
                execution_id=execution_id,
                execution_kind="run",
                function="other/other",
                version="1.0.0",
                artifact_sha256=ARTIFACT,
                source_sha256=ARTIFACT,
                handler="main",
                language="cpp",
                owner="other",
                owner_id="other",
                pool="default",
                input=Input(bytes=0, sha256=hashlib.sha256(b"").hexdigest()),
                limits=Limits(),
                gpu=None,
            )
            cancelled = ev.ExecutionFinished(
                execution_id=execution_id,
                attempt=0,
                outcome="cancelled",
                exit_code=None,
                signal=None,
                usage=None,
                last_seq=-1,
                output={},
            )
            for data in (requested, cancelled):
                value = codec.encode(new_event(data, "fake"))
                sent.append(await self._writer.send(topic, execution_id, value))
        return [await self._writer.acknowledged(one) for one in sent][-1]

    async def loses(self, execution_id: str, attempt: int = 1) -> int:
        """Say that an attempt was lost, with its output up to now."""
        return await self.append(
            execution_id,
            ev.ExecutionAttemptLost(
                execution_id=execution_id,
                attempt=attempt,
                epoch=1,
                reason="lease_over",
                output_end_offset=await self.output_end(execution_id),
            ),
        )

    async def output_end(self, execution_id: str) -> int:
        """Where the execution's output partition ends."""
        reader = PartitionReader(
            self._settings.bootstrap,
            self._topics.output("default"),
            await self._partition(execution_id),
        )
        async with reader:
            return await reader.end_offset()

    async def requested(self, execution_id: str, timeout: float = 10.0) -> None:
        """Wait until the execution stands in the pool's topic."""
        topic = self._topics.executions("default")
        async with PartitionReader(self._settings.bootstrap, topic) as reader:
            async with asyncio.timeout(timeout):
                while True:
                    for record in await reader.batch():
                        if record.key == execution_id.encode():
                            return

    async def _partition(self, execution_id: str) -> int:
        partitions = await self._writer.partitions(self._topics.output("default"))
        return partition_of(execution_id, len(partitions))
