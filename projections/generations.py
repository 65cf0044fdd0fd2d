"""A projection's generation is a schema of its own: `executions_g1`.

The API reads views in the schema `hermes` that stand over the active generation; a rebuild fills
another one and then puts the views over that. Renamed tables would leave cached plans behind.
"""

from __future__ import annotations

import importlib.resources

import asyncpg

from projections.definitions import DEFINITIONS, Definition

GENERATIONS_CHANNEL = "hermes_generations"


def schema_of(projection: str, generation: int) -> str:
    """The schema that holds this generation; a name that needs no quoting."""
    return f"{projection}_g{generation}"


async def ensure_generations(connection: asyncpg.Connection) -> None:
    """Give every projection that has none its first generation, with the views over it."""
    rows = await connection.fetch("SELECT name FROM hermes.projections")
    known = {row["name"] for row in rows}
    for definition in DEFINITIONS.values():
        if definition.name not in known:
            schema = schema_of(definition.name, 1)
            await create_tables(connection, definition, schema)
            await create_indexes(connection, definition, schema)
            await connection.execute(
                "INSERT INTO hermes.projections (name, generation, last_generation) "
                "VALUES ($1, 1, 1)",
                definition.name,
            )
            await put_views_over(connection, definition, schema)


async def active_generation(connection: asyncpg.Connection, projection: str) -> int:
    """The generation that serves."""
    return int(
        await connection.fetchval(
            "SELECT generation FROM hermes.projections WHERE name = $1", projection
        )
    )


async def create_tables(
    connection: asyncpg.Connection, definition: Definition, schema: str
) -> None:
    """The generation's empty tables, without keys, which cost less after the rows are there."""
    await connection.execute(f"CREATE SCHEMA {schema}")
    await _run_in(connection, schema, f"{definition.name}.sql")


async def create_indexes(
    connection: asyncpg.Connection, definition: Definition, schema: str
) -> None:
    """Keys and indexes."""
    await _run_in(connection, schema, f"{definition.name}_indexes.sql")


async def put_views_over(
    connection: asyncpg.Connection, definition: Definition, schema: str
) -> None:
    """Let the views that the API reads show this generation; part of the caller's transaction."""
    for table in definition.tables:
        name = table.name
        await connection.execute(
            f"CREATE OR REPLACE VIEW hermes.{name} AS SELECT * FROM {schema}.{name}"  # noqa: S608
        )


async def leftover_schemas(connection: asyncpg.Connection, projection: str) -> list[str]:
    """Schemas of this projection that do not serve: dead rebuilds', and replaced ones."""
    active = schema_of(projection, await active_generation(connection, projection))
    rows = await connection.fetch(
        "SELECT nspname FROM pg_namespace WHERE nspname ~ $1", f"^{projection}_g[0-9]+$"
    )
    return [row["nspname"] for row in rows if row["nspname"] != active]


async def _run_in(connection: asyncpg.Connection, schema: str, file: str) -> None:
    sql = importlib.resources.files("projections.tables").joinpath(file).read_text("utf-8")
    async with connection.transaction():
        await connection.execute(f"SET LOCAL search_path = {schema}")
        await connection.execute(sql)
        # In an outer transaction SET LOCAL would last until its end.
        await connection.execute("SET LOCAL search_path = DEFAULT")
