"""Two generations of a projection against each other, in one snapshot of the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from projections.definitions import Definition, Table

_EXAMPLES = 20


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A row in which a view differs from the log: it is missing, extra or changed there."""

    table: str
    key: dict[str, Any]
    kind: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` of the new generation were compared; `examples` are the first of the differences."""

    rows: int
    differences: int
    examples: list[Difference]


async def compare(
    connection: asyncpg.Connection, definition: Definition, old: str, new: str
) -> Comparison:
    """The old generation's schema against the new one's. The caller opened the snapshot."""
    rows = differences = 0
    examples: list[Difference] = []
    for table in definition.tables:
        columns = await _common_columns(connection, old, table)
        text = _columns(columns)
        new_sum = await _sum(connection, f"{new}.{table.name}", text or "1 AS one")
        rows += new_sum["rows"]
        if not set(table.key) <= set(columns):
            # Somebody dropped the old table, or it is of another shape: all its rows are missing.
            differences += new_sum["rows"]
            continue
        # Sums of hashes do not depend on the order of rows, and need no sorting.
        if await _sum(connection, f"{old}.{table.name}", text) != new_sum:
            found = await connection.fetch(_differing(table, text, old, new))
            differences += found[0]["all_of_them"] if found else 0
            examples += [_difference(table, row) for row in found]
    return Comparison(rows=rows, differences=differences, examples=examples)


async def _common_columns(connection: asyncpg.Connection, old: str, table: Table) -> list[str]:
    """The columns that the old generation has too: an older Hermes may have made it."""
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_schema = $1 AND table_name = $2",
        old,
        table.name,
    )
    known = {row["column_name"] for row in rows}
    return [name for name in table.columns if name in known]


async def _sum(connection: asyncpg.Connection, table: str, columns: str) -> asyncpg.Record:
    return await connection.fetchrow(
        f"SELECT count(*) AS rows, sum(hashtextextended(given::text, 0)) AS hashes "  # noqa: S608
        f"FROM (SELECT {columns} FROM {table}) AS given"
    )


def _columns(names: Sequence[str]) -> str:
    # json has no equality; its text is what readers get.
    return ", ".join('body::text AS "body"' if name == "body" else f'"{name}"' for name in names)


def _differing(table: Table, columns: str, old: str, new: str) -> str:
    key = ", ".join(f'"{name}"' for name in table.key)
    return f"""
WITH old AS (SELECT {columns} FROM {old}.{table.name}),
     new AS (SELECT {columns} FROM {new}.{table.name}),
     wrong AS (
         SELECT {key}, 'extra' AS side FROM (SELECT * FROM old EXCEPT ALL SELECT * FROM new) AS a
         UNION ALL
         SELECT {key}, 'missing' FROM (SELECT * FROM new EXCEPT ALL SELECT * FROM old) AS b
     )
SELECT {key}, min(side) AS side, count(DISTINCT side) AS sides, count(*) OVER () AS all_of_them
FROM wrong GROUP BY {key} ORDER BY {key} LIMIT {_EXAMPLES}
"""  # noqa: S608 - names are constants


def _difference(table: Table, row: asyncpg.Record) -> Difference:
    return Difference(
        table=table.name,
        key={name: row[name] for name in table.key},
        kind="changed" if row["sides"] > 1 else row["side"],
    )
