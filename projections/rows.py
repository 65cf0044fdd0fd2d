"""The rows of every view: one named tuple per table, its fields the table's columns, in order."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple

_LONGEST = 200


class FunctionRow(NamedTuple):
    """A version of a function."""

    key: str
    version: str
    version_order: str
    owner: str
    owner_id: str
    name: str
    public: bool
    status: str
    language: str
    gpu_capable: bool
    created_at: datetime
    built_at: datetime | None
    registered_offset: int
    body: str


class RegistryEventRow(NamedTuple):
    """A record of the registry's topic."""

    topic: str
    partition: int
    offset: int
    key: str
    event_id: str
    kind: str
    version: int
    occurred_at: datetime
    log_time: datetime
    actor: str
    superseded: bool
    misfit: str | None
    body: str


class PoolRow(NamedTuple):
    """A pool."""

    pool: str
    created_offset: int


class ExecutionRow(NamedTuple):
    """An execution. Seconds, bytes, joules."""

    topic: str
    id: str
    pool: str
    kind: str
    owner: str
    owner_id: str
    function: str
    version: str
    status: str
    outcome: str | None
    reason: str | None
    agent: str | None
    attempts: int
    gpu_count: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    wall_time: float | None
    cpu_time: float | None
    peak_memory: int | None
    output_bytes: int | None
    gpu_time: float | None
    gpu_peak_memory: int | None
    gpu_energy: float | None
    requested_offset: int
    body: str
    gpu_utilisation: float | None

    @property
    def is_final(self) -> bool:
        """Whether no later record can change it."""
        return self.finished_at is not None


class EventRow(NamedTuple):
    """A record of a pool's topic."""

    topic: str
    partition: int
    offset: int
    execution_id: str | None
    event_id: str
    kind: str
    version: int
    occurred_at: datetime
    log_time: datetime
    actor: str
    superseded: bool
    misfit: str | None
    body: str


class AgentRow(NamedTuple):
    """An agent."""

    topic: str
    id: str
    pool: str
    incarnation: str
    state: str
    reason: str | None
    joined_at: datetime
    joined_offset: int
    body: str


class OutputChunkRow(NamedTuple):
    """Where a chunk of output stands."""

    topic: str
    partition: int
    offset: int
    execution_id: str
    attempt: int
    seq: int
    stream: str
    stream_offset: int
    length: int
    time: datetime
    after: int


class RefusedOutputRow(NamedTuple):
    """A record of an output topic that is no chunk."""

    topic: str
    partition: int
    offset: int
    key: str
    length: int


def short(text: str) -> str:
    """`text` for a column that an index may hold: whole up to 200 characters, else its start and
    its hash, so that equal stays equal and different different."""
    text = clean(text)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:130]}~{hashlib.sha256(text.encode()).hexdigest()}"


def clean(text: str) -> str:
    """`text` without the one character that PostgreSQL cannot hold."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text
