"""The fold of the registry: functions, their versions, and the pools. Pure and total."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from hermes.domain import events as ev
from hermes.domain.ids import derived_id, is_id
from hermes.domain.resources import Position


class FunctionState(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a function; `status` is registered, built, build_failed or deleted."""

    owner: str
    owner_id: str
    name: str
    version: str
    config: dict[str, Any]
    source_sha256: str
    status: str
    build_id: str
    registered: Position
    registered_event: str
    created_at: datetime
    artifact_sha256: str | None = None
    toolchain: str | None = None
    error: str | None = None
    built_at: datetime | None = None

    @property
    def ref(self) -> str:
        """`owner/name:version`."""
        return f"{self.owner}/{self.name}:{self.version}"


class RegistryApplied(msgspec.Struct, frozen=True):
    """What a record did: the version after it, or why it changed nothing."""

    misfit: str | None
    function: FunctionState | None = None
    pool: str | None = None

    @property
    def superseded(self) -> bool:
        """Whether the record changed nothing."""
        return self.misfit is not None


def build_id_of(registered_event: str) -> str:
    """The id of the build execution that a `registered` event leads to."""
    return derived_id(registered_event, "build")


class RegistryState(msgspec.Struct, kw_only=True):
    """Functions by "owner/name" and version; pools by name with the offset of their creation."""

    topic: str
    next_offset: int = 0
    superseded: int = 0
    malformed: int = 0
    functions: dict[str, dict[str, FunctionState]] = msgspec.field(default_factory=dict)
    pools: dict[str, int] = msgspec.field(default_factory=dict)

    def apply(self, record: ev.Recorded) -> RegistryApplied:
        """Fold the next record of the partition."""
        self.next_offset = record.offset + 1
        event = record.event
        if isinstance(event, ev.Malformed):
            self.malformed += 1
            return RegistryApplied(f"malformed: {event.reason}")
        applied = self._dispatch(record, event)
        if applied.superseded:
            self.superseded += 1
        return applied

    def _dispatch(self, record: ev.Recorded, event: ev.Event) -> RegistryApplied:
        data = event.data
        match data:
            case ev.PoolCreated():
                return self._pool_created(data, record)
            case ev.FunctionRegistered():
                return self._registered(data, record, event)
            case ev.FunctionBuilt() | ev.FunctionBuildFailed() | ev.FunctionDeleted():
                state = self.functions.get(record.key, {}).get(data.version)
                if state is None or state.status == "deleted":
                    return RegistryApplied("no such version", state)
                after = _after(data, state, event)
                if isinstance(after, str):
                    return RegistryApplied(after, state)
                self.functions[record.key][data.version] = after
                return RegistryApplied(None, after)
        return RegistryApplied(f"{event.kind} does not belong in the registry")

    def _pool_created(self, data: ev.PoolCreated, record: ev.Recorded) -> RegistryApplied:
        if data.pool != record.key:
            return RegistryApplied("the record's key is not the pool")
        if data.pool in self.pools:
            return RegistryApplied("the pool exists")
        self.pools[data.pool] = record.offset
        return RegistryApplied(None, pool=data.pool)

    def _registered(
        self, data: ev.FunctionRegistered, record: ev.Recorded, event: ev.Event
    ) -> RegistryApplied:
        key = f"{data.owner}/{data.name}"
        if key != record.key:
            return RegistryApplied("the record's key is not owner/name")
        if not is_id(event.id):
            return RegistryApplied("the event's id, from which its build's follows, is no UUIDv7")
        versions = self.functions.setdefault(key, {})
        known = versions.get(data.version)
        if known is not None and known.status in ("registered", "built"):
            return RegistryApplied("the version exists", known)
        after = FunctionState(
            owner=data.owner,
            owner_id=data.owner_id,
            name=data.name,
            version=data.version,
            config=data.config,
            source_sha256=data.source_sha256,
            status="registered",
            build_id=build_id_of(event.id),
            registered=Position(record.topic, record.partition, record.offset),
            registered_event=event.id,
            created_at=event.occurred_at,
        )
        versions[data.version] = after
        return RegistryApplied(None, after)


def _after(data: ev.EventData, state: FunctionState, event: ev.Event) -> FunctionState | str:
    match data:
        case ev.FunctionDeleted():
            return msgspec.structs.replace(state, status="deleted")
        case ev.FunctionBuilt() if state.status == "registered" and (
            data.build_id == state.build_id
        ):
            return msgspec.structs.replace(
                state,
                status="built",
                artifact_sha256=data.artifact_sha256,
                toolchain=data.toolchain,
                built_at=event.occurred_at,
            )
        case ev.FunctionBuildFailed() if state.status == "registered" and (
            data.build_id == state.build_id
        ):
            return msgspec.structs.replace(state, status="build_failed", error=data.reason)
    return f"the version is {state.status}, or this is another registration's build"
