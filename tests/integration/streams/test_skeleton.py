"""The thinnest whole path: events in, a build and a run by the real roles, events and bytes out."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.pool import Applied, PoolState
from hermes.domain.registry import RegistryApplied, RegistryState
from hermes.domain.resources import Input, Limits
from hermes.packages.config import config_as_json
from hermes.packages.pack import pack
from hermes.settings import Settings
from infra.blobs import BlobStore
from streams.fold import LogFold
from streams.log import LogWriter, PartitionReader, new_event
from streams.output import chunk, headers, partition_of
from streams.topics import Topics, ensure_topics
from tests.support.cluster import Cluster

LIMITS = Limits()
EXAMPLES = Path(__file__).parents[3] / "examples" / "functions"


class Roles:
    """The builder, the scheduler and an agent as real processes on the cluster."""

    def __init__(self, cluster: Cluster, home: Path) -> None:
        self.settings = Settings(
            home=home, kafka=cluster.kafka, topic_prefix=cluster.topic_prefix, agent="a1"
        )
        self._environment = {
            **os.environ,
            "HERMES_HOME": str(home),
            "HERMES_KAFKA": cluster.kafka,
            "HERMES_TOPIC_PREFIX": cluster.topic_prefix,
            "HERMES_AGENT": "a1",
            "HERMES_SANDBOX": "bubblewrap",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        for name in names:
            read, write = os.pipe()
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"streams.{name}"],
                env={**self._environment, "HERMES_READY_FD": str(write)},
                pass_fds=(write,),
            )
            os.close(write)
            assert os.read(read, 16) == b"ready\n", f"{name} did not start"
            os.close(read)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            assert process.wait(15) == 0


@pytest.fixture(scope="module")
async def roles(cluster: Cluster) -> AsyncIterator[Roles]:
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        running = Roles(cluster, Path(home))
        await ensure_topics(running.settings, "default")
        await asyncio.to_thread(running.start, "builder", "scheduler", "agent")
        yield running
        await asyncio.to_thread(running.stop)


class Log:
    """A reader and writer of the log beside the roles."""

    def __init__(self, settings: Settings) -> None:
        topics = Topics(settings.topic_prefix)
        self.output_topic = topics.output("default")
        self.writer = LogWriter(settings.bootstrap, timeout=10)
        self.settings = settings
        self.pool: LogFold[PoolState, Applied] = LogFold(
            PoolState(pool="default", topic=topics.executions("default")),
            PartitionReader(settings.bootstrap, topics.executions("default")),
            topics.executions("default"),
        )
        self.registry: LogFold[RegistryState, RegistryApplied] = LogFold(
            RegistryState(topic=topics.registry),
            PartitionReader(settings.bootstrap, topics.registry),
            topics.registry,
        )
        self.seen: dict[str, list[ev.Recorded]] = {}
        self.states: dict[str, Applied] = {}
        self.pool.listen(self._keep)
        self.tasks: list[asyncio.Task[None]] = []

    def _keep(self, record: ev.Recorded, applied: Applied) -> None:
        self.seen.setdefault(record.key, []).append(record)
        if applied.execution is not None:
            self.states[record.key] = applied

    async def __aenter__(self) -> Log:
        await self.writer.start()
        await self.pool.start()
        await self.registry.start()
        self.tasks = [asyncio.create_task(f.follow()) for f in (self.pool, self.registry)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.pool.stop()
        await self.registry.stop()
        await self.writer.stop()

    async def register(self, folder: Path, version: str = "1.0.0") -> str:
        buffer = io.BytesIO()
        package = pack(folder, buffer)
        sha256 = await BlobStore(self.settings.blobs_url).put_bytes(buffer.getvalue())
        config = {**config_as_json(package.config), "functionVersion": version}
        event = new_event(
            ev.FunctionRegistered(
                owner="alice",
                owner_id="u1",
                name=package.config.function_name,
                version=version,
                config=config,
                source_sha256=sha256,
            ),
            "user:alice",
        )
        key = f"alice/{package.config.function_name}"
        _, verdict = await self.registry.append(self.writer, key, event)
        assert not verdict.superseded
        async with asyncio.timeout(60):
            while True:
                function = self.registry.state.functions[key][version]
                if function.status != "registered":
                    assert function.status == "built", function.error
                    return key
                await asyncio.sleep(0.02)

    async def request(
        self, key: str, data: bytes, retries: int = 0, limits: Limits = LIMITS
    ) -> str:
        execution_id = new_id()
        function = self.registry.state.functions[key]["1.0.0"]
        position = None
        if data:
            partitions = len(await self.writer.partitions(self.output_topic))
            position = await self.writer.acknowledged(
                await self.writer.send(
                    self.output_topic,
                    execution_id,
                    data,
                    partition=partition_of(execution_id, partitions),
                    headers=headers(
                        attempt=0,
                        seq=0,
                        stream="stdin",
                        offset=0,
                        time="2026-01-01T00:00:00.000000Z",
                        after=0,
                    ),
                )
            )
        event = new_event(
            ev.ExecutionRequested(
                execution_id=execution_id,
                execution_kind="run",
                function=key,
                version="1.0.0",
                artifact_sha256=function.artifact_sha256,
                source_sha256=function.source_sha256,
                handler=function.config["handler"],
                language="cpp",
                owner="alice",
                owner_id="u1",
                pool="default",
                input=Input(
                    bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), position=position
                ),
                limits=limits,
                gpu=None,
                retries=retries,
            ),
            "user:alice",
        )
        await self.writer.append(self.pool.topic, execution_id, event)
        return execution_id

    async def status(self, execution_id: str, *wanted: str, timeout: float = 30) -> Applied:
        async with asyncio.timeout(timeout):
            while True:
                applied = self.states.get(execution_id)
                if applied and applied.execution and applied.execution.status in wanted:
                    return applied
                await asyncio.sleep(0.005)

    async def output(self, execution_id: str, attempt: int) -> dict[str, bytes]:
        execution = self.states[execution_id].execution
        assert execution is not None
        started = execution.attempts[attempt - 1]
        assert started.output_partition is not None
        streams = {"stdout": b"", "stderr": b""}
        async with PartitionReader(
            self.settings.bootstrap, self.output_topic, started.output_partition
        ) as reader:
            reader.seek(started.output_offset or 0)
            while records := await reader.batch(wait=0.5):
                for record in records:
                    found = chunk(record)
                    if found and (found.execution_id, found.attempt) == (execution_id, attempt):
                        streams[found.stream] += found.data
        return streams


@pytest.fixture(scope="module")
async def log(roles: Roles) -> AsyncIterator[Log]:
    async with Log(roles.settings) as log:
        yield log


def kinds(log: Log, execution_id: str) -> list[str]:
    return [
        record.event.kind.removeprefix("execution.").removesuffix("/1")
        for record in log.seen[execution_id]
        if isinstance(record.event, ev.Event)
    ]


async def test_a_registered_function_is_built_and_runs_with_its_input(log: Log) -> None:
    key = await log.register(EXAMPLES / "reduce-sum")
    execution_id = await log.request(key, b"5 1 2 3 4 5")
    execution = (await log.status(execution_id, "finished")).execution
    assert execution is not None
    assert (execution.outcome, execution.exit_code) == ("succeeded", 0)
    assert kinds(log, execution_id) == ["requested", "scheduled", "claimed", "started", "finished"]
    assert await log.output(execution_id, 1) == {"stdout": b"15\n", "stderr": b""}
    assert execution.output is not None
    assert execution.output["stdout"].sha256 == hashlib.sha256(b"15\n").hexdigest()
    assert execution.last_seq == 0


async def test_an_agent_killed_in_mid_run_costs_an_attempt_and_a_second_one_finishes(
    log: Log, roles: Roles
) -> None:
    key = await log.register(EXAMPLES / "waiter")
    execution_id = await log.request(key, b"2 1", retries=1)
    await log.status(execution_id, "running")
    await asyncio.to_thread(roles.kill, "agent")
    await asyncio.to_thread(roles.start, "agent")
    execution = (await log.status(execution_id, "finished")).execution
    assert execution is not None
    assert [a.status for a in execution.attempts] == ["lost", "finished"]
    assert execution.attempts[0].reason == "agent_restarted"
    assert execution.outcome == "succeeded"
    assert (await log.output(execution_id, 2))["stdout"] == b"Hello 0\nHello 1\nHello 2\n"


async def test_without_retries_a_lost_attempt_ends_the_execution_as_lost(
    log: Log, roles: Roles
) -> None:
    key = (
        await log.register(EXAMPLES / "waiter", "1.0.0")
        if "alice/waiter" not in (log.registry.state.functions)
        else "alice/waiter"
    )
    execution_id = await log.request(key, b"3 2")
    await log.status(execution_id, "running")
    await asyncio.to_thread(roles.kill, "agent")
    await asyncio.to_thread(roles.start, "agent")
    execution = (await log.status(execution_id, "finished")).execution
    assert execution is not None
    assert execution.outcome == "lost"
    assert "agent_restarted" in (execution.reason or "")
