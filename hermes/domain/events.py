"""The catalogue: every fact that Hermes writes to the log, in one place.

The kind is a written string with its version; it never follows a rename in the code. A change of
meaning is a new version with an upcaster in `codec.py` and a stored sample under test.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from hermes.domain.resources import (
    Amount,
    Count,
    GpuRequest,
    Input,
    Int64,
    Inventory,
    Limits,
    StreamDigest,
    Usage,
)


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """The fact apart from its envelope."""

    kind: ClassVar[str]


# --- hermes.registry: key "owner/name", or the pool


class PoolCreated(EventData, frozen=True, kw_only=True):
    """A pool exists, and its topics with it."""

    kind: ClassVar[str] = "pool.created/1"
    pool: str


class FunctionRegistered(EventData, frozen=True, kw_only=True):
    """A version was handed in; it is built next."""

    kind: ClassVar[str] = "function.registered/1"
    owner: str
    owner_id: str
    name: str
    version: str
    config: dict[str, Any]
    source_sha256: str


class FunctionBuilt(EventData, frozen=True, kw_only=True):
    """The version can be run."""

    kind: ClassVar[str] = "function.built/1"
    version: str
    build_id: str
    artifact_sha256: str
    toolchain: str


class FunctionBuildFailed(EventData, frozen=True, kw_only=True):
    """The build failed; the version may be registered again."""

    kind: ClassVar[str] = "function.build_failed/1"
    version: str
    build_id: str
    exit_code: Int64 | None
    reason: str


class FunctionDeleted(EventData, frozen=True, kw_only=True):
    """The version is gone for new runs; its history stays."""

    kind: ClassVar[str] = "function.deleted/1"
    version: str


# --- hermes.executions.<pool>: key execution id


class ExecutionRequested(EventData, frozen=True, kw_only=True):
    """Somebody wants a run, or the builder a build; it carries all that it needs."""

    kind: ClassVar[str] = "execution.requested/1"
    execution_id: str
    execution_kind: str = msgspec.field(name="kind")
    function: str
    version: str
    artifact_sha256: str | None
    source_sha256: str
    handler: str
    language: str
    owner: str
    owner_id: str
    pool: str
    input: Input
    limits: Limits
    gpu: GpuRequest | None
    retries: Count = 0


class ExecutionQueued(EventData, frozen=True, kw_only=True):
    """It waits, and why."""

    kind: ClassVar[str] = "execution.queued/1"
    execution_id: str
    reason: str


class ExecutionRejected(EventData, frozen=True, kw_only=True):
    """It can never run here; terminal."""

    kind: ClassVar[str] = "execution.rejected/1"
    execution_id: str
    reason: str


class ExecutionScheduled(EventData, frozen=True, kw_only=True):
    """Attempt n is handed to an agent's present incarnation, for `lease` seconds."""

    kind: ClassVar[str] = "execution.scheduled/1"
    execution_id: str
    attempt: Count
    agent: str
    incarnation: str
    epoch: Count
    gpus: tuple[str, ...]
    lease: Amount


class ExecutionClaimed(EventData, frozen=True, kw_only=True):
    """The agent has taken the attempt up."""

    kind: ClassVar[str] = "execution.claimed/1"
    execution_id: str
    attempt: Count
    agent: str
    incarnation: str


class ExecutionStarted(EventData, frozen=True, kw_only=True):
    """The program runs; its output stands in this partition, from this offset on."""

    kind: ClassVar[str] = "execution.started/1"
    execution_id: str
    attempt: Count
    agent: str
    output_partition: Count
    output_offset: Count


class ExecutionFinished(EventData, frozen=True, kw_only=True):
    """The attempt ended with an outcome; terminal. `last_seq` is -1 without output."""

    kind: ClassVar[str] = "execution.finished/1"
    execution_id: str
    attempt: Count
    outcome: str
    exit_code: Int64 | None
    signal: Int64 | None
    usage: Usage | None
    last_seq: Int64
    output: dict[str, StreamDigest]
    reason: str | None = None
    artifact_sha256: str | None = None
    toolchain: str | None = None


class ExecutionCancelRequested(EventData, frozen=True, kw_only=True):
    """Its owner wants it to end."""

    kind: ClassVar[str] = "execution.cancel_requested/1"
    execution_id: str


GPU_UNAVAILABLE = "gpu_unavailable"
"""Why an agent hands an attempt back: its GPU is not to be had. Drain the GPU first."""
HOST_FAULT = "host_fault: "
"""Why an agent hands an attempt back: a fault of its host, told in the words that follow."""


class ExecutionAttemptLost(EventData, frozen=True, kw_only=True):
    """Attempt n counts no more; neither does its output from `output_end_offset` on.

    A scheduler's word holds in its own epoch. An agent may hand its own attempt back at once: it
    names itself in `agent` and `incarnation`, the epoch that its fold has (which does not count
    then), and for its reason GPU_UNAVAILABLE or HOST_FAULT with more words. The attempt's GPUs
    stay held until `gpu_released`, like those of any lost one.
    """

    kind: ClassVar[str] = "execution.attempt_lost/1"
    execution_id: str
    attempt: Count
    epoch: Count
    reason: str
    output_end_offset: Count | None
    agent: str | None = None
    incarnation: str | None = None


class ExecutionGpuReleased(EventData, frozen=True, kw_only=True):
    """The host has seen these GPUs free of a lost attempt."""

    kind: ClassVar[str] = "execution.gpu_released/1"
    execution_id: str
    attempt: Count
    gpus: tuple[str, ...]


class AgentJoined(EventData, frozen=True, kw_only=True):
    """An agent serves the pool; whatever an earlier incarnation held is void."""

    kind: ClassVar[str] = "agent.joined/1"
    agent: str
    incarnation: str
    inventory: Inventory


class AgentLeft(EventData, frozen=True, kw_only=True):
    """The agent takes no more work."""

    kind: ClassVar[str] = "agent.left/1"
    agent: str
    incarnation: str
    reason: str


class AgentGpuDrained(EventData, frozen=True, kw_only=True):
    """The GPU is out of service from here on: nothing is scheduled on it until it is restored,
    whoever offers it, and also when its agent joins anew. An attempt that has it keeps it. Only
    the present incarnation of an online agent that offers the GPU may say so; one that is drained
    already stays as it is."""

    kind: ClassVar[str] = "agent.gpu_drained/1"
    agent: str
    incarnation: str
    gpu: str
    reason: str


class AgentGpuRestored(EventData, frozen=True, kw_only=True):
    """The GPU is well again, as an online agent that offers it has found, be it the one that
    drained it, a later incarnation of it or another."""

    kind: ClassVar[str] = "agent.gpu_restored/1"
    agent: str
    incarnation: str
    gpu: str


class SchedulerTookOver(EventData, frozen=True, kw_only=True):
    """Decisions of lower epochs are superseded from here on."""

    kind: ClassVar[str] = "scheduler.took_over/1"
    scheduler: str
    epoch: Count


CATALOGUE: dict[str, type[EventData]] = {
    data.kind: data
    for data in (
        PoolCreated,
        FunctionRegistered,
        FunctionBuilt,
        FunctionBuildFailed,
        FunctionDeleted,
        ExecutionRequested,
        ExecutionQueued,
        ExecutionRejected,
        ExecutionScheduled,
        ExecutionClaimed,
        ExecutionStarted,
        ExecutionFinished,
        ExecutionCancelRequested,
        ExecutionAttemptLost,
        ExecutionGpuReleased,
        AgentJoined,
        AgentLeft,
        AgentGpuDrained,
        AgentGpuRestored,
        SchedulerTookOver,
    )
}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event before or after storage: the fact in its envelope. `id` is a UUIDv7."""

    id: str
    kind: str
    occurred_at: datetime
    actor: str
    causation_id: str | None
    correlation_id: str | None
    data: EventData


class Malformed(msgspec.Struct, frozen=True):
    """A record that no version of Hermes wrote: it counts as superseded and halts nobody."""

    reason: str


class Recorded(msgspec.Struct, frozen=True):
    """A record as it stands in a partition. `log_time` is the broker's, in milliseconds."""

    topic: str
    partition: int
    offset: int
    log_time: int
    key: str
    event: Event | Malformed
