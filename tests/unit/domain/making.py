"""Events, records and partitions for tests of the domain, with defaults for every field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from hermes.domain import events as ev
from hermes.domain.ids import derived_id
from hermes.domain.pool import Applied, PoolState
from hermes.domain.registry import RegistryApplied, RegistryState
from hermes.domain.resources import GIB, Gpu, GpuRequest, Input, Inventory, Limits

POOL = "default"
TOPIC = "hermes.executions.default"
REGISTRY = "hermes.registry"
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
NO_INPUT = Input(bytes=0, sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def id_at(number: int, ms: int = NOW_MS) -> str:
    """The `number`-th UUIDv7 of that millisecond."""
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7000-8000-{number:012x}"


def occurred(offset: int) -> datetime:
    """A time that rises with the offset; its microseconds are sometimes zero."""
    start = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    return start + timedelta(milliseconds=250 * offset)


def event(data: ev.EventData, offset: int = 0, event_id: str | None = None) -> ev.Event:
    return ev.Event(
        id=event_id or id_at(0xE00000 + offset),
        kind=data.kind,
        occurred_at=occurred(offset),
        actor="test",
        causation_id=None,
        correlation_id=None,
        data=data,
    )


def key_of(data: ev.EventData) -> str:
    """The key that an honest writer gives the record."""
    for field in ("execution_id", "agent", "pool"):
        if hasattr(data, field):
            return str(getattr(data, field))
    if isinstance(data, ev.FunctionRegistered):
        return f"{data.owner}/{data.name}"
    return POOL


def gpu(uuid: str, **changes: Any) -> Gpu:
    values = {
        "uuid": uuid,
        "name": "NVIDIA H100 80GB HBM3",
        "memory": 80 * GIB,
        "compute_capability": "9.0",
        "driver": "580.1",
    }
    return Gpu(**(values | changes))


def inventory(*gpus: Gpu, slots: int = 4, memory: int = 64 * GIB) -> Inventory:
    return Inventory(slots=slots, cpus=8.0, memory=memory, gpus=gpus, sandbox="bubblewrap")


def requested(execution_id: str, **changes: Any) -> ev.ExecutionRequested:
    values: dict[str, Any] = {
        "execution_id": execution_id,
        "execution_kind": "run",
        "function": "ada/primes",
        "version": "1.0.0",
        "artifact_sha256": "a" * 64,
        "source_sha256": "b" * 64,
        "handler": "./primes",
        "language": "cpp",
        "owner": "ada",
        "owner_id": "user-ada",
        "pool": POOL,
        "input": NO_INPUT,
        "limits": Limits(),
        "gpu": None,
    }
    return ev.ExecutionRequested(**(values | changes))


def queued(execution_id: str, reason: str = "every agent is busy") -> ev.ExecutionQueued:
    return ev.ExecutionQueued(execution_id=execution_id, reason=reason)


def rejected(execution_id: str, reason: str = "no such GPU") -> ev.ExecutionRejected:
    return ev.ExecutionRejected(execution_id=execution_id, reason=reason)


def scheduled(execution_id: str, attempt: int = 1, **changes: Any) -> ev.ExecutionScheduled:
    values: dict[str, Any] = {
        "execution_id": execution_id,
        "attempt": attempt,
        "agent": "a1",
        "incarnation": "i1",
        "epoch": 1,
        "gpus": (),
        "lease": 10.0,
    }
    return ev.ExecutionScheduled(**(values | changes))


def claimed(
    execution_id: str, attempt: int = 1, agent: str = "a1", incarnation: str = "i1"
) -> ev.ExecutionClaimed:
    return ev.ExecutionClaimed(
        execution_id=execution_id, attempt=attempt, agent=agent, incarnation=incarnation
    )


def started(execution_id: str, attempt: int = 1, agent: str = "a1") -> ev.ExecutionStarted:
    return ev.ExecutionStarted(
        execution_id=execution_id,
        attempt=attempt,
        agent=agent,
        output_partition=2,
        output_offset=40,
    )


def finished(execution_id: str, attempt: int = 1, **changes: Any) -> ev.ExecutionFinished:
    values: dict[str, Any] = {
        "execution_id": execution_id,
        "attempt": attempt,
        "outcome": "succeeded",
        "exit_code": 0,
        "signal": None,
        "usage": None,
        "last_seq": -1,
        "output": {},
    }
    return ev.ExecutionFinished(**(values | changes))


def cancel_requested(execution_id: str) -> ev.ExecutionCancelRequested:
    return ev.ExecutionCancelRequested(execution_id=execution_id)


def attempt_lost(execution_id: str, attempt: int = 1, **changes: Any) -> ev.ExecutionAttemptLost:
    values: dict[str, Any] = {
        "execution_id": execution_id,
        "attempt": attempt,
        "epoch": 1,
        "reason": "lease_expired",
        "output_end_offset": None,
    }
    return ev.ExecutionAttemptLost(**(values | changes))


def handed_back(execution_id: str, attempt: int = 1, **changes: Any) -> ev.ExecutionAttemptLost:
    """As the attempt's own agent says it."""
    values = {"agent": "a1", "incarnation": "i1", "reason": ev.GPU_UNAVAILABLE}
    return attempt_lost(execution_id, attempt, **(values | changes))


def gpu_released(execution_id: str, attempt: int, *gpus: str) -> ev.ExecutionGpuReleased:
    return ev.ExecutionGpuReleased(execution_id=execution_id, attempt=attempt, gpus=gpus)


def joined(agent: str = "a1", incarnation: str = "i1", *gpus: Gpu, **more: Any) -> ev.AgentJoined:
    return ev.AgentJoined(agent=agent, incarnation=incarnation, inventory=inventory(*gpus, **more))


def left(agent: str = "a1", incarnation: str = "i1") -> ev.AgentLeft:
    return ev.AgentLeft(agent=agent, incarnation=incarnation, reason="stopped")


def gpu_drained(uuid: str, agent: str = "a1", incarnation: str = "i1") -> ev.AgentGpuDrained:
    return ev.AgentGpuDrained(agent=agent, incarnation=incarnation, gpu=uuid, reason="Xid 79")


def gpu_restored(uuid: str, agent: str = "a1", incarnation: str = "i1") -> ev.AgentGpuRestored:
    return ev.AgentGpuRestored(agent=agent, incarnation=incarnation, gpu=uuid)


def took_over(epoch: int = 1, scheduler: str = "s1") -> ev.SchedulerTookOver:
    return ev.SchedulerTookOver(scheduler=scheduler, epoch=epoch)


def registered(
    name: str = "primes", version: str = "1.0.0", owner: str = "ada", **config: Any
) -> ev.FunctionRegistered:
    return ev.FunctionRegistered(
        owner=owner,
        owner_id=f"user-{owner}",
        name=name,
        version=version,
        config={"language": "cpp", "handler": "./primes", **config},
        source_sha256="b" * 64,
    )


def built(registered_event: str, version: str = "1.0.0") -> ev.FunctionBuilt:
    return ev.FunctionBuilt(
        version=version,
        build_id=derived_id(registered_event, "build"),
        artifact_sha256="a" * 64,
        toolchain="gcc-12",
    )


def build_failed(registered_event: str, version: str = "1.0.0") -> ev.FunctionBuildFailed:
    return ev.FunctionBuildFailed(
        version=version,
        build_id=derived_id(registered_event, "build"),
        exit_code=2,
        reason="make failed",
    )


def deleted(version: str = "1.0.0") -> ev.FunctionDeleted:
    return ev.FunctionDeleted(version=version)


class _Partition:
    topic = TOPIC

    def __init__(self) -> None:
        self.offset = 0
        self.log_time = NOW_MS

    def record(
        self,
        data: ev.EventData | ev.Malformed,
        key: str | None = None,
        event_id: str | None = None,
    ) -> ev.Recorded:
        """The next record of the partition."""
        offset = self.offset
        self.offset += 1
        if isinstance(data, ev.Malformed):
            return ev.Recorded(self.topic, 0, offset, self.log_time, key or "", data)
        key = key_of(data) if key is None else key
        whole = event(data, offset, event_id)
        return ev.Recorded(self.topic, 0, offset, self.log_time, key, whole)


class PoolPartition(_Partition):
    """A pool's topic: `append` puts an event behind the others and folds it."""

    def __init__(self) -> None:
        super().__init__()
        self.state = PoolState(pool=POOL, topic=TOPIC)

    def append(self, data: ev.EventData | ev.Malformed, key: str | None = None) -> Applied:
        return self.state.apply(self.record(data, key))

    def accept(self, *facts: ev.EventData) -> None:
        """Append facts that must all fit."""
        for data in facts:
            applied = self.append(data)
            assert applied.misfit is None, f"{data.kind}: {applied.misfit}"


class RegistryPartition(_Partition):
    """The registry's topic."""

    topic = REGISTRY

    def __init__(self) -> None:
        super().__init__()
        self.state = RegistryState(topic=REGISTRY)

    def append(
        self,
        data: ev.EventData | ev.Malformed,
        key: str = "ada/primes",
        event_id: str | None = None,
    ) -> RegistryApplied:
        return self.state.apply(self.record(data, key, event_id))


def content(state: PoolState | RegistryState) -> dict[str, Any]:
    """A state without what counts records: equal before and after a superseded one."""
    values = msgspec.structs.asdict(state)
    for counter in ("next_offset", "log_time", "began", "superseded", "malformed"):
        values.pop(counter, None)
    return {
        name: dict(value) if isinstance(value, dict) else value for name, value in values.items()
    }


def wants(count: int = 1, **more: Any) -> GpuRequest:
    return GpuRequest(count=count, **more)
