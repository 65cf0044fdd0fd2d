"""From folded records to rows: what the fold returned, written down. Pure.

An interpreter is the state of one partition. It takes records in order, once each, and says for a
run of them which rows each projection gets; SQL decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from aiokafka.structs import ConsumerRecord

from hermes.domain.events import Malformed, Recorded
from hermes.domain.execution import ExecutionState
from hermes.domain.ids import is_id
from hermes.domain.pool import Applied, PoolState
from hermes.domain.registry import FunctionState, RegistryApplied, RegistryState
from hermes.domain.shapes import event_shape, execution_shape, function_shape
from projections.agents import AgentRows
from projections.rows import (
    EventRow,
    ExecutionRow,
    FunctionRow,
    PoolRow,
    RegistryEventRow,
    clean,
    short,
)
from projections.writer import Rows
from streams.log import recorded

_encode = msgspec.json.Encoder().encode
_VERSION = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2}\Z")


class Folded(msgspec.Struct, frozen=True):
    """A record and what the fold made of it."""

    record: Any
    verdict: Any

    @property
    def offset(self) -> int:
        """In the partition."""
        offset: int = self.record.offset
        return offset


class Interpreter(Protocol):
    """One partition's fold, and the rows that come of it."""

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        ...

    def take(self, raw: ConsumerRecord) -> Folded:
        """Fold the next record. Raises LogError for a newer version of a known kind."""
        ...

    def rows(self, projection: str, folded: Sequence[Folded]) -> Rows:
        """The rows of a projection after these records, the last ones that were taken."""
        ...


class RegistryInterpreter:
    """The registry's topic."""

    def __init__(self, topic: str) -> None:
        self.state = RegistryState(topic=topic)

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        return self.state.next_offset

    def take(self, raw: ConsumerRecord) -> Folded:
        """See Interpreter."""
        record = recorded(raw)
        return Folded(record, self.state.apply(record))

    def rows(self, projection: str, folded: Sequence[Folded]) -> Rows:
        """See Interpreter."""
        functions: dict[tuple[str, str], FunctionRow] = {}
        pools: list[tuple[Any, ...]] = []
        events: list[tuple[Any, ...]] = []
        for item in folded:
            record: Recorded = item.record
            verdict: RegistryApplied = item.verdict
            events.append(RegistryEventRow(*_event_columns(record, verdict.misfit, record.key)))
            if verdict.superseded:
                continue
            if verdict.function is not None:
                row = _function_row(record.key, verdict.function)
                functions[(row.key, row.version)] = row
            if verdict.pool is not None:
                pools.append(PoolRow(short(verdict.pool), record.offset))
        return {"functions": list(functions.values()), "registry_events": events, "pools": pools}


class PoolInterpreter:
    """A pool's topic, which feeds `executions` and `agents`."""

    def __init__(self, state: PoolState) -> None:
        self.state = state
        self._agents = AgentRows()

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        return self.state.next_offset

    def take(self, raw: ConsumerRecord) -> Folded:
        """See Interpreter."""
        record = recorded(raw)
        return Folded(record, self.state.apply(record))

    def rows(self, projection: str, folded: Sequence[Folded]) -> Rows:
        """See Interpreter."""
        if projection == "agents":
            touched = any(AgentRows.touched_by(item.record, item.verdict) for item in folded)
            return {"agents": list(self._agents.changed(self.state)) if touched else []}
        executions: dict[str, ExecutionState] = {}
        events: list[tuple[Any, ...]] = []
        for item in folded:
            record: Recorded = item.record
            verdict: Applied = item.verdict
            owner = record.key if is_id(record.key) else None
            events.append(EventRow(*_event_columns(record, verdict.misfit, owner)))
            if verdict.execution is not None and not verdict.superseded:
                executions[verdict.execution.id] = verdict.execution
        rows = [execution_row(self.state.topic, state) for state in executions.values()]
        return {"executions": rows, "events": events}


def execution_row(topic: str, state: ExecutionState) -> ExecutionRow:
    """The row of an execution."""
    shape = execution_shape(state)
    usage = state.usage
    return ExecutionRow(
        topic=topic,
        id=state.id,
        pool=short(state.pool),
        kind=state.kind,
        owner=short(state.owner),
        owner_id=short(state.owner_id),
        function=short(state.function),
        version=short(state.version),
        status=state.status,
        outcome=state.outcome,
        reason=None if state.reason is None else clean(state.reason),
        agent=short(state.attempts[-1].agent) if state.attempts else None,
        attempts=len(state.attempts),
        gpu_count=len(state.attempts[-1].gpus) if state.attempts else 0,
        created_at=state.created_at,
        started_at=_started_at(state),
        finished_at=state.finished_at,
        wall_time=usage.wall_time if usage else None,
        cpu_time=usage.cpu_time if usage else None,
        peak_memory=usage.peak_memory if usage else None,
        output_bytes=usage.output_bytes if usage else None,
        gpu_time=usage.gpu_time if usage else None,
        gpu_peak_memory=usage.gpu_peak_memory if usage else None,
        gpu_energy=usage.gpu_energy if usage else None,
        requested_offset=state.requested.offset,
        body=_encode(shape).decode(),
        gpu_utilisation=usage.gpu_utilisation if usage else None,
    )


def _started_at(state: ExecutionState) -> datetime | None:
    return next((a.started_at for a in reversed(state.attempts) if a.started_at), None)


def _function_row(key: str, state: FunctionState) -> FunctionRow:
    shape = function_shape(state)
    return FunctionRow(
        key=short(key),
        version=short(state.version),
        version_order=version_order(state.version),
        owner=short(state.owner),
        owner_id=short(state.owner_id),
        name=short(state.name),
        public=shape.scope == "public",
        status=state.status,
        language=short(shape.language),
        gpu_capable=shape.gpu_capable,
        created_at=state.created_at,
        built_at=state.built_at,
        registered_offset=state.registered.offset,
        body=_encode(shape).decode(),
    )


def version_order(version: str) -> str:
    """Text that sorts as versions do; what is no version sorts first."""
    if not _VERSION.match(version):
        return ""
    return ".".join(part.zfill(9) for part in version.split("."))


def _event_columns(record: Recorded, misfit: str | None, key: str | None) -> tuple[Any, ...]:
    shape = event_shape(record, misfit is not None)
    log_time = datetime.fromtimestamp(record.log_time / 1000, UTC)
    return (
        record.topic,
        record.partition,
        record.offset,
        None if key is None else short(key),
        short(shape.id),
        shape.kind,
        shape.version,
        log_time if isinstance(record.event, Malformed) else record.event.occurred_at,
        log_time,
        short(shape.actor),
        shape.superseded,
        None if misfit is None else clean(misfit),
        _encode(shape).decode(),
    )
