"""The projections: which tables each has, and which topics feed it."""

from __future__ import annotations

from typing import Any

import msgspec

from projections import rows
from streams.topics import Topics


class Table(msgspec.Struct, frozen=True):
    """A table and its row. If it `replaces`, a row takes the place of the one of the same key;
    else rows are only ever added, one for each record of the log."""

    name: str
    row: Any
    key: tuple[str, ...] = ("topic", "partition", "offset")
    replaces: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """In the order of the row's fields."""
        found: tuple[str, ...] = self.row._fields
        return found


class Definition(msgspec.Struct, frozen=True):
    """A projection. `source` names the topics: registry, executions or output."""

    name: str
    source: str
    tables: tuple[Table, ...]


class Source(msgspec.Struct, frozen=True):
    """A partition that feeds projections. `kind`: registry, executions or output; `pool` is the
    Hermes pool, empty for the registry."""

    kind: str
    topic: str
    partition: int
    pool: str

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


DEFINITIONS: dict[str, Definition] = {
    definition.name: definition
    for definition in (
        Definition(
            "functions",
            "registry",
            (
                Table("functions", rows.FunctionRow, ("key", "version"), True),
                Table("registry_events", rows.RegistryEventRow),
                Table("pools", rows.PoolRow, ("pool",), True),
            ),
        ),
        # Agents come before executions: who waits for a position waits for executions.
        Definition(
            "agents", "executions", (Table("agents", rows.AgentRow, ("topic", "id"), True),)
        ),
        Definition(
            "executions",
            "executions",
            (
                Table("executions", rows.ExecutionRow, ("topic", "id"), True),
                Table("events", rows.EventRow),
            ),
        ),
        Definition(
            "output",
            "output",
            (
                Table("output_chunks", rows.OutputChunkRow),
                Table("refused_output", rows.RefusedOutputRow),
            ),
        ),
    )
}


def feeding(kind: str) -> list[str]:
    """The projections that topics of this kind feed, in the order in which they are written."""
    return [name for name, definition in DEFINITIONS.items() if definition.source == kind]


def kind_of(topics: Topics, topic: str) -> str | None:
    """`registry`, `executions` or `output`; None for a topic that feeds no projection."""
    if topic == topics.registry:
        return "registry"
    if topic.startswith(topics.executions("")):
        return "executions"
    if topic.startswith(topics.output("")):
        return "output"
    return None
