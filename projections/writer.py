"""Rows into a generation's tables, in the caller's transaction, a statement per table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from projections.definitions import Definition, Table


class RowWriter:
    """Writes a projection's rows into one generation's schema."""

    def __init__(self, definition: Definition, schema: str, statements: dict[str, str]) -> None:
        self.definition = definition
        self.schema = schema
        self._statements = statements

    @classmethod
    async def prepare(
        cls, connection: asyncpg.Connection, definition: Definition, schema: str
    ) -> RowWriter:
        """Take the columns' types from the tables as they are."""
        statements = {}
        for table in definition.tables:
            rows = await connection.fetch(_TYPES, f"{schema}.{table.name}")
            types = {row["attname"]: row["type"] for row in rows}
            statements[table.name] = _insert(table, schema, types)
        return cls(definition, schema, statements)

    async def write(
        self,
        connection: asyncpg.Connection,
        rows: Mapping[str, Sequence[tuple[Any, ...]]],
    ) -> None:
        """Add the rows, or replace those of the same key. At most one row per key at a time."""
        for table in self.definition.tables:
            batch = rows[table.name]
            if batch:
                await connection.execute(
                    self._statements[table.name],
                    *[list(column) for column in zip(*batch, strict=True)],
                )

    async def copy(
        self,
        connection: asyncpg.Connection,
        rows: Mapping[str, Sequence[tuple[Any, ...]]],
    ) -> None:
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


def _insert(table: Table, schema: str, types: Mapping[str, str]) -> str:
    columns = ", ".join(f'"{name}"' for name in table.columns)
    arrays = ", ".join(f"${n}::{types[name]}[]" for n, name in enumerate(table.columns, 1))
    statement = (
        f"INSERT INTO {schema}.{table.name} ({columns}) "  # noqa: S608 - names are constants
        f"SELECT {columns} FROM unnest({arrays}) AS given ({columns})"
    )
    if table.replaces:
        key = ", ".join(table.key)
        rest = ", ".join(
            f'"{name}" = excluded."{name}"' for name in table.columns if name not in table.key
        )
        statement += f" ON CONFLICT ({key}) DO UPDATE SET {rest}"
    return statement
