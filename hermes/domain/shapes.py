"""The shapes that REST and the CLI show, and how a fold's state becomes one.

Absent is null; times are text, see `times.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from hermes.domain.events import Event as LogEvent
from hermes.domain.events import Malformed, Recorded
from hermes.domain.execution import AttemptState, ExecutionState
from hermes.domain.registry import FunctionState
from hermes.domain.resources import GpuRequest, Limits, Position, StreamDigest, Usage
from hermes.domain.times import timestamp


class User(msgspec.Struct, frozen=True, kw_only=True):
    """An account."""

    username: str
    admin: bool
    created_at: str


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a function."""

    id: str
    owner: str
    name: str
    version: str
    language: str
    gpu_capable: bool
    scope: str
    handler: str
    limits: Limits
    gpu: GpuRequest | None
    status: str
    build_id: str
    source_sha256: str
    artifact_sha256: str | None
    error: str | None
    created_at: str
    built_at: str | None
    position: Position


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try on an agent."""

    attempt: int
    agent: str
    gpus: tuple[str, ...]
    status: str
    scheduled_at: str
    claimed_at: str | None
    started_at: str | None
    ended_at: str | None
    reason: str | None


class InputShape(msgspec.Struct, frozen=True, kw_only=True):
    """How long the input was, and its SHA-256."""

    bytes: int
    sha256: str


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """Where an execution's landmarks stand in the log."""

    requested: Position
    started: Position | None
    finished: Position | None


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as everybody sees it. A build also has artifact_sha256 and error."""

    id: str
    kind: str
    function: str
    owner: str
    pool: str
    status: str
    outcome: str | None
    reason: str | None
    exit_code: int | None
    signal: int | None
    attempt: int
    attempts: tuple[Attempt, ...]
    limits: Limits
    gpu: GpuRequest | None
    input: InputShape
    output: dict[str, StreamDigest] | None
    usage: Usage | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    cancel_requested_at: str | None
    positions: Positions
    artifact_sha256: str | None = None
    error: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its position; `kind` without the version, which stands beside it."""

    id: str
    kind: str
    version: int
    occurred_at: str
    actor: str
    causation_id: str | None
    correlation_id: str | None
    data: dict[str, Any]
    position: Position
    superseded: bool


def function_shape(state: FunctionState) -> Function:
    """`config` is the checked hermes.config.json, so its fields are there."""
    config = state.config
    return Function(
        id=state.ref,
        owner=state.owner,
        name=state.name,
        version=state.version,
        language=str(config.get("language", "")),
        gpu_capable=bool(config.get("gpuCapable", False)),
        scope=str(config.get("scope", "private")),
        handler=str(config.get("handler", "")),
        limits=_limits(config.get("limits")),
        gpu=_gpu(config.get("gpu")),
        status=state.status,
        build_id=state.build_id,
        source_sha256=state.source_sha256,
        artifact_sha256=state.artifact_sha256,
        error=state.error,
        created_at=timestamp(state.created_at),
        built_at=timestamp(state.built_at),
        position=state.registered,
    )


def _limits(given: Any) -> Limits:
    """What the config says, completed by the defaults that a run of it would get."""
    try:
        return msgspec.convert(given or {}, Limits)
    except msgspec.ValidationError:
        return Limits()


def _gpu(given: Any) -> GpuRequest | None:
    """The config's wish under the names that executions show."""
    if not isinstance(given, dict):
        return None
    try:
        capability = {"compute_capability": given.get("computeCapability")}
        return msgspec.convert(given | capability, GpuRequest)
    except msgspec.ValidationError:
        return None


def execution_shape(state: ExecutionState) -> Execution:
    """Positions and times of the newest attempt that started."""
    started = next((a for a in reversed(state.attempts) if a.started_at is not None), None)
    failed_build = state.kind == "build" and state.terminal and state.outcome != "succeeded"
    return Execution(
        id=state.id,
        kind=state.kind,
        function=f"{state.function}:{state.version}",
        owner=state.owner,
        pool=state.pool,
        status=state.status,
        outcome=state.outcome,
        reason=state.reason,
        exit_code=state.exit_code,
        signal=state.signal,
        attempt=state.attempt,
        attempts=tuple(_attempt_shape(a) for a in state.attempts),
        limits=state.limits,
        gpu=state.gpu,
        input=InputShape(bytes=state.input.bytes, sha256=state.input.sha256),
        output=state.output or None,
        usage=state.usage,
        created_at=timestamp(state.created_at),
        started_at=timestamp(started.started_at) if started else None,
        finished_at=timestamp(state.finished_at),
        cancel_requested_at=timestamp(state.cancel_requested_at),
        positions=Positions(
            requested=state.requested,
            started=_beside(state.requested, started.started_offset if started else None),
            finished=_beside(state.requested, state.finished_offset),
        ),
        artifact_sha256=state.built_artifact if state.kind == "build" else None,
        error=(state.reason or state.outcome) if failed_build else None,
    )


def event_shape(record: Recorded, superseded: bool) -> Event:
    """A malformed record shows as kind `malformed`, with the reason as its data."""
    event: LogEvent | Malformed = record.event
    position = Position(record.topic, record.partition, record.offset)
    if isinstance(event, Malformed):
        return Event(
            id="",
            kind="malformed",
            version=0,
            occurred_at=timestamp(datetime.fromtimestamp(record.log_time / 1000, UTC)),
            actor="",
            causation_id=None,
            correlation_id=None,
            data={"reason": event.reason},
            position=position,
            superseded=True,
        )
    kind, _, version = event.kind.partition("/")
    return Event(
        id=event.id,
        kind=kind,
        version=int(version),
        occurred_at=timestamp(event.occurred_at),
        actor=event.actor,
        causation_id=event.causation_id,
        correlation_id=event.correlation_id,
        data=msgspec.to_builtins(event.data),
        position=position,
        superseded=superseded,
    )


def _attempt_shape(state: AttemptState) -> Attempt:
    return Attempt(
        attempt=state.attempt,
        agent=state.agent,
        gpus=state.gpus,
        status=state.status,
        scheduled_at=timestamp(state.scheduled_at),
        claimed_at=timestamp(state.claimed_at),
        started_at=timestamp(state.started_at),
        ended_at=timestamp(state.ended_at),
        reason=state.reason,
    )


def _beside(position: Position, offset: int | None) -> Position | None:
    if offset is None:
        return None
    return Position(position.topic, position.partition, offset)
