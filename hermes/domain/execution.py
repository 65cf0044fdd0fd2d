"""One execution: its state, and the pure step from state to state.

`evolve` never raises and looks at no clock. An event that does not fit changes nothing: it returns
why, and the record counts as superseded.
"""

from __future__ import annotations

from datetime import datetime
from functools import singledispatch
from typing import Literal

import msgspec

from hermes.domain import events as ev
from hermes.domain.resources import (
    GpuRequest,
    Input,
    Limits,
    Position,
    StreamDigest,
    Usage,
)

Status = Literal["requested", "queued", "scheduled", "claimed", "running", "finished", "rejected"]
OUTCOMES = frozenset(
    {
        "succeeded",
        "failed",
        "timed_out",
        "cancelled",
        "out_of_memory",
        "output_limit",
        "build_missing",
        "lost",
    }
)
TERMINAL = frozenset({"finished", "rejected"})
ACTIVE = frozenset({"scheduled", "claimed", "running"})


class AttemptState(msgspec.Struct, frozen=True, kw_only=True):
    """The n-th try on an agent; `status` is scheduled, claimed, running, lost or finished."""

    attempt: int
    agent: str
    incarnation: str
    gpus: tuple[str, ...]
    lease: float
    status: str
    scheduled_at: datetime
    scheduled_offset: int
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    started_offset: int | None = None
    output_partition: int | None = None
    output_offset: int | None = None
    output_end_offset: int | None = None
    ended_at: datetime | None = None
    reason: str | None = None


class ExecutionState(msgspec.Struct, frozen=True, kw_only=True):
    """All that the log says of one execution. Attempts count from 1; 0 means none yet."""

    id: str
    kind: str
    function: str
    version: str
    owner: str
    owner_id: str
    pool: str
    handler: str
    language: str
    artifact_sha256: str | None
    source_sha256: str
    limits: Limits
    gpu: GpuRequest | None
    input: Input
    retries: int
    status: Status
    created_at: datetime
    requested: Position
    request_id: str
    requested_log_time: int
    outcome: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    attempts: tuple[AttemptState, ...] = ()
    usage: Usage | None = None
    output: dict[str, StreamDigest] | None = None
    last_seq: int | None = None
    built_artifact: str | None = None
    toolchain: str | None = None
    finished_at: datetime | None = None
    finished_offset: int | None = None
    cancel_requested_at: datetime | None = None

    @property
    def attempt(self) -> int:
        """The number of the newest attempt, 0 before the first."""
        return len(self.attempts)

    @property
    def current(self) -> AttemptState | None:
        """The newest attempt while an agent holds it."""
        return self.attempts[-1] if self.status in ACTIVE else None

    @property
    def terminal(self) -> bool:
        """Whether nothing can change any more."""
        return self.status in TERMINAL


class Misfit(msgspec.Struct, frozen=True):
    """Why an event changes nothing here."""

    reason: str


def begin(data: ev.ExecutionRequested, record: ev.Recorded, event: ev.Event) -> ExecutionState:
    """The state that a valid `requested` opens."""
    return ExecutionState(
        id=data.execution_id,
        kind=data.execution_kind,
        function=data.function,
        version=data.version,
        owner=data.owner,
        owner_id=data.owner_id,
        pool=data.pool,
        handler=data.handler,
        language=data.language,
        artifact_sha256=data.artifact_sha256,
        source_sha256=data.source_sha256,
        limits=data.limits,
        gpu=data.gpu,
        input=data.input,
        retries=data.retries,
        status="requested",
        created_at=event.occurred_at,
        requested=Position(record.topic, record.partition, record.offset),
        request_id=event.id,
        requested_log_time=record.log_time,
    )


@singledispatch
def evolve(
    data: ev.EventData, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    """The state after `data`, or why it does not fit. What spans executions is `pool.py`'s."""
    return Misfit(f"{event.kind} does not concern an execution")


@evolve.register
def _(
    data: ev.ExecutionQueued, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    if state.status not in ("requested", "queued"):
        return Misfit(f"already {state.status}")
    return msgspec.structs.replace(state, status="queued", reason=data.reason)


@evolve.register
def _(
    data: ev.ExecutionRejected, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    if state.status not in ("requested", "queued") or state.attempts:
        return Misfit(f"already {state.status}")
    return msgspec.structs.replace(
        state,
        status="rejected",
        reason=data.reason,
        finished_at=event.occurred_at,
        finished_offset=offset,
    )


@evolve.register
def _(
    data: ev.ExecutionScheduled, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    if state.status not in ("requested", "queued"):
        return Misfit(f"already {state.status}")
    if state.cancel_requested_at is not None:
        return Misfit("cancellation was requested")
    if data.attempt != state.attempt + 1:
        return Misfit(f"attempt {data.attempt} does not follow {state.attempt}")
    attempt = AttemptState(
        attempt=data.attempt,
        agent=data.agent,
        incarnation=data.incarnation,
        gpus=data.gpus,
        lease=data.lease,
        status="scheduled",
        scheduled_at=event.occurred_at,
        scheduled_offset=offset,
    )
    return msgspec.structs.replace(
        state, status="scheduled", reason=None, attempts=(*state.attempts, attempt)
    )


@evolve.register
def _(
    data: ev.ExecutionClaimed, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    attempt = state.current
    if attempt is None or attempt.status != "scheduled" or data.attempt != attempt.attempt:
        return Misfit(f"attempt {data.attempt} is not waiting for a claim")
    if (data.agent, data.incarnation) != (attempt.agent, attempt.incarnation):
        return Misfit("another agent, or another incarnation of it, holds the attempt")
    return _with_attempt(
        state,
        "claimed",
        msgspec.structs.replace(attempt, status="claimed", claimed_at=event.occurred_at),
    )


@evolve.register
def _(
    data: ev.ExecutionStarted, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    attempt = state.current
    if attempt is None or attempt.status != "claimed" or data.attempt != attempt.attempt:
        return Misfit(f"attempt {data.attempt} is not claimed")
    if data.agent != attempt.agent:
        return Misfit("another agent holds the attempt")
    return _with_attempt(
        state,
        "running",
        msgspec.structs.replace(
            attempt,
            status="running",
            started_at=event.occurred_at,
            started_offset=offset,
            output_partition=data.output_partition,
            output_offset=data.output_offset,
        ),
    )


@evolve.register
def _(
    data: ev.ExecutionFinished, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    if state.terminal:
        return Misfit(f"already {state.status}")
    if data.attempt != state.attempt:
        return Misfit(f"attempt {data.attempt} is not the present one, {state.attempt}")
    if state.status == "scheduled":
        return Misfit(f"attempt {data.attempt} was not claimed")
    if data.outcome not in OUTCOMES:
        return Misfit(f"unknown outcome {data.outcome!r}")
    if state.current is None and not _ends_without_a_run(data):
        return Misfit(f"attempt {data.attempt} is not held by an agent")
    attempts = state.attempts
    if state.current is not None:
        ended = msgspec.structs.replace(
            state.current, status="finished", ended_at=event.occurred_at, reason=data.reason
        )
        attempts = (*state.attempts[:-1], ended)
    return msgspec.structs.replace(
        state,
        status="finished",
        attempts=attempts,
        outcome=data.outcome,
        reason=data.reason,
        exit_code=data.exit_code,
        signal=data.signal,
        usage=data.usage,
        output=data.output,
        last_seq=data.last_seq,
        built_artifact=data.artifact_sha256,
        toolchain=data.toolchain,
        finished_at=event.occurred_at,
        finished_offset=offset,
    )


@evolve.register
def _(
    data: ev.ExecutionCancelRequested, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    if state.terminal:
        return Misfit(f"already {state.status}")
    if state.cancel_requested_at is not None:
        return Misfit("cancellation was requested before")
    return msgspec.structs.replace(state, cancel_requested_at=event.occurred_at)


@evolve.register
def _(
    data: ev.ExecutionAttemptLost, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    attempt = state.current
    if attempt is None or data.attempt != attempt.attempt:
        return Misfit(f"attempt {data.attempt} is not held by an agent")
    if is_handed_back(data):
        if (data.agent, data.incarnation) != (attempt.agent, attempt.incarnation):
            return Misfit("another agent, or another incarnation of it, holds the attempt")
        if data.reason != ev.GPU_UNAVAILABLE and not data.reason.startswith(ev.HOST_FAULT):
            return Misfit(f"an agent hands nothing back for {data.reason[:100]!r}")
    lost = msgspec.structs.replace(
        attempt,
        status="lost",
        ended_at=event.occurred_at,
        reason=data.reason,
        output_end_offset=data.output_end_offset,
    )
    return msgspec.structs.replace(
        state,
        status="queued",
        reason=f"attempt {data.attempt} was lost: {data.reason}",
        attempts=(*state.attempts[:-1], lost),
    )


@evolve.register
def _(
    data: ev.ExecutionGpuReleased, state: ExecutionState, event: ev.Event, offset: int
) -> ExecutionState | Misfit:
    # Whether a GPU is held is the pool's to know; the execution itself does not change.
    return state


def is_handed_back(data: ev.ExecutionAttemptLost) -> bool:
    """Whether an agent says it of its own attempt, and no scheduler."""
    return data.agent is not None or data.incarnation is not None


def _ends_without_a_run(data: ev.ExecutionFinished) -> bool:
    """The scheduler's word on what nobody holds; the late end of a lost attempt is not one."""
    return data.outcome in ("cancelled", "lost") and not data.output and data.usage is None


def _with_attempt(state: ExecutionState, status: Status, attempt: AttemptState) -> ExecutionState:
    return msgspec.structs.replace(state, status=status, attempts=(*state.attempts[:-1], attempt))
