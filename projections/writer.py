"""Rows into a generation's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from projections.checkpoints import MOVE_PARAMETERS, moving
from projections.definitions import Definition, Table

Rows = Mapping[str, Sequence[tuple[Any, ...]]]


class RowWriter:
    """Writes a projection's rows into one generation's schema. `moving` is the statement that
    moves a checkpoint and writes the rows of all tables, given as `values`."""

    def __init__(
        self, definition: Definition, schema: str, types: Mapping[str, Mapping[str, str]]
    ) -> None:
        self.definition = definition
        self.schema = schema
        self._inserts = {
            table.name: _insert(table, schema, types[table.name]) for table in definition.tables
        }
        first = MOVE_PARAMETERS + 1
        guarded = []
        for table in definition.tables:
            guarded.append(
                _insert(table, schema, types[table.name], first, "WHERE EXISTS (SELECT FROM moved)")
            )
            first += len(table.columns)
        self.moving = moving(guarded)

    @classmethod
    async def prepare(
        cls, connection: asyncpg.Connection, definition: Definition, schema: str
    ) -> RowWriter:
        """Take the columns' types from the tables as they are."""
        types = {}
        for table in definition.tables:
            rows = await connection.fetch(_TYPES, f"{schema}.{table.name}")
            types[table.name] = {row["attname"]: row["type"] for row in rows}
        return cls(definition, schema, types)

    def values(self, rows: Rows) -> list[list[Any]]:
        """The rows as `moving` takes them: a list per column of every table."""
        columns: list[list[Any]] = []
        for table in self.definition.tables:
            columns += _columns(table, rows[table.name])
        return columns

    async def write(self, connection: asyncpg.Connection, rows: Rows) -> None:
        """Add the rows, or replace those of the same key, where there is no checkpoint to move.
        At most one row per key at a time."""
        for table in self.definition.tables:
            if rows[table.name]:
                await connection.execute(
                    self._inserts[table.name], *_columns(table, rows[table.name])
                )

    async def copy(self, connection: asyncpg.Connection, rows: Rows) -> None:
        """Add the rows to tables that have no row of these keys: the fast way in."""
        for table in self.definition.tables:
            batch = rows[table.name]
            if batch:
                await connection.copy_records_to_table(
                    table.name, schema_name=self.schema, columns=table.columns, records=batch
                )


_TYPES = """
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""


def _columns(table: Table, rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    if not rows:
        return [[] for _ in table.columns]
    return [list(column) for column in zip(*rows, strict=True)]


def _insert(
    table: Table, schema: str, types: Mapping[str, str], first: int = 1, condition: str = ""
) -> str:
    columns = ", ".join(f'"{name}"' for name in table.columns)
    arrays = ", ".join(f"${n}::{types[name]}[]" for n, name in enumerate(table.columns, first))
    statement = (
        f"INSERT INTO {schema}.{table.name} ({columns}) "  # noqa: S608 - names are constants
        f"SELECT {columns} FROM unnest({arrays}) AS given ({columns}) {condition}"
    )
    if table.replaces:
        key = ", ".join(table.key)
        rest = ", ".join(
            f'"{name}" = excluded."{name}"' for name in table.columns if name not in table.key
        )
        statement += f" ON CONFLICT ({key}) DO UPDATE SET {rest}"
    return statement
