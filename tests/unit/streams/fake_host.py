"""What an attempt needs of its host, without a sandbox, a broker or a blob store."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hermes.domain.codec import encode
from hermes.domain.events import Event
from hermes.domain.execution import AttemptState, ExecutionState
from hermes.domain.resources import Input, Position
from hermes.settings import Settings
from infra.gpu import GpuLibrary, NoGpus
from infra.sandbox.port import KillReason, SandboxExit, SandboxSpec
from infra.toolchain import HostToolchains
from streams.agent.gpu_keeper import GpuKeeper
from streams.agent.host import Host
from streams.agent.stdin import ArrivingInput
from tests.support.fake_nvml import FakeReports
from tests.unit.domain.making import PoolPartition, id_at, joined, requested, scheduled, took_over
from tests.unit.streams.fake_log import FakeWriter

X = id_at(1)


def an_exit(**changes: Any) -> SandboxExit:
    values: dict[str, Any] = {
        "exit_code": 0,
        "signal": None,
        "oom": False,
        "processes_limited": False,
        "killed": None,
        "wall_time": 1.0,
        "cpu_time": 0.5,
        "peak_memory": 4096,
    }
    return SandboxExit(**(values | changes))


class FakePrepared:
    """Real pipes; the program is the test: it writes to `out` and `err` and calls `end`."""

    def __init__(self) -> None:
        self.stdout, self.out = os.pipe()
        self.stderr, self.err = os.pipe()
        os.set_blocking(self.stdout, False)
        os.set_blocking(self.stderr, False)
        self.work: Path | None = None
        self.gone = 0
        self.went = False
        self.kills: list[tuple[KillReason, float]] = []
        self.closed = False
        self.dies_when_killed = True
        self._exit: asyncio.Future[SandboxExit] = asyncio.get_running_loop().create_future()

    def go(self) -> None:
        self.went = True

    def end(self, exited: SandboxExit | None = None) -> None:
        if not self._exit.done():
            os.close(self.out)
            os.close(self.err)
            self._exit.set_result(exited or an_exit())

    async def wait(self) -> SandboxExit:
        return await asyncio.shield(self._exit)

    async def kill(self, reason: KillReason, grace: float = 0.0) -> None:
        self.kills.append((reason, grace))
        await asyncio.sleep(0)
        if self.dies_when_killed:
            self.end(an_exit(exit_code=None, signal=9, killed=self.kills[0][0]))

    async def close(self) -> None:
        assert not self.closed
        self.end()
        self.closed = True
        os.close(self.stdout)
        os.close(self.stderr)


class FakeSandbox:
    """Prepares one `FakePrepared`, at once or when `may_prepare` is set; or fails."""

    def __init__(self) -> None:
        self.prepared: FakePrepared | None = None
        self.spec: SandboxSpec | None = None
        self.error: Exception | None = None
        self.may_prepare = asyncio.Event()
        self.may_prepare.set()
        self.is_warm = False

    async def prepare(self, spec: SandboxSpec) -> FakePrepared:
        if not self.is_warm:
            await asyncio.sleep(0)
        await self.may_prepare.wait()
        if self.error is not None:
            raise self.error
        self.spec = spec
        self.prepared = FakePrepared()
        return self.prepared


class FakeArtifacts:
    """Every artifact is there."""

    def __init__(self) -> None:
        self.held = 0

    @asynccontextmanager
    async def hold(self, sha256: str) -> AsyncIterator[Path]:
        self.held += 1
        try:
            yield Path("/nowhere")
        finally:
            self.held -= 1


class FakeInputs:
    """Every input is empty."""

    def open(self, execution_id: str, source: Input) -> ArrivingInput:
        return ArrivingInput(os.open("/dev/null", os.O_RDONLY))


class FakeFold:
    """A place in the log that never moves."""

    topic = "hermes.executions.default"

    def __init__(self) -> None:
        self.state = PoolPartition().state
        self.state.next_offset = 42

    async def send(self, writer: FakeWriter, key: str, event: Event) -> asyncio.Future[Any]:
        return await writer.send(self.topic, key, encode(event))

    async def reached(self, offset: int, timeout: float) -> bool:
        return self.state.next_offset > offset


class EventWriter(FakeWriter):
    """Keeps events; `before` is called with each kind before it is taken."""

    before: Callable[[str], None] | None = None

    async def send(self, *args: Any, **more: Any) -> asyncio.Future[Any]:
        kind = json.loads(args[2]).get("kind", "heartbeat")
        await asyncio.sleep(0)
        if self.before is not None:
            self.before(kind)
        return await super().send(*args, **more)

    async def append(self, topic: str, key: str, event: Event) -> Position:
        await self.send(topic, key, encode(event))
        return Position(topic, 0, len(self.sent) - 1)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Kinds in short, with their data."""
        found = []
        for sent in self.sent:
            whole = json.loads(sent.value)
            if "kind" not in whole:
                continue
            found.append(
                (whole["kind"].removeprefix("execution.").partition("/")[0], whole["data"])
            )
        return found

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]


class FakeHost:
    """The parts, and the Host that holds them."""

    def __init__(self, spool: Path, fold: Any = None, gpus: GpuLibrary | None = None) -> None:
        self.events = EventWriter()
        self.output = FakeWriter()
        self.sandbox = FakeSandbox()
        self.artifacts = FakeArtifacts()
        self.gpus = gpus or NoGpus()
        self.reports = FakeReports()
        parts: Any = {
            "fold": fold or FakeFold(),
            "events": self.events,
            "output": self.output,
            "sandbox": self.sandbox,
            "blobs": None,
            "artifacts": self.artifacts,
            "inputs": FakeInputs(),
        }
        self.host = Host(
            settings=Settings(home=spool, agent="a1"),
            incarnation="i1",
            output_topic="hermes.output.default",
            output_ends=[10, 11, 12, 13],
            spool=spool,
            gpus=GpuKeeper(self.gpus, self.gpus.inventory(), self.reports, recheck=0.1),
            toolchains=HostToolchains(spool),
            **parts,
        )


def a_scheduled(**changes: Any) -> tuple[ExecutionState, AttemptState]:
    """An execution whose first attempt is scheduled to `a1`."""
    pool = PoolPartition()
    pool.accept(took_over(), joined(), requested(X, **changes), scheduled(X))
    execution = pool.state.live[X]
    return execution, execution.attempts[-1]
