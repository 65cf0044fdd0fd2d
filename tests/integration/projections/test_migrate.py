"""Migrations: once, whoever comes first, and never over a newer database."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from projections.migrate import MigrationFailed, apply_migrations, migrate, migrations_of

SCHEMA = """
SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema LIKE 'hermes' OR table_schema LIKE '%\\_g1' ORDER BY 1, 2, 3
"""


async def _columns(url: str) -> list[tuple]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(SCHEMA)]
    finally:
        await connection.close()


async def test_migrating_twice_changes_nothing(settings):
    await migrate(settings.database_url)
    first = await _columns(settings.database_url)
    await migrate(settings.database_url)
    assert await _columns(settings.database_url) == first
    assert ("hermes", "executions", "body", "json") in first


async def test_many_can_migrate_at_once(settings):
    await asyncio.gather(*[migrate(settings.database_url) for _ in range(6)])
    connection = await asyncpg.connect(settings.database_url)
    try:
        applied = await connection.fetchval("SELECT count(*) FROM hermes.migrations")
    finally:
        await connection.close()
    assert applied == len(migrations_of("projections.migrations"))


async def test_a_database_of_a_newer_hermes_is_refused(settings):
    await migrate(settings.database_url)
    connection = await asyncpg.connect(settings.database_url)
    try:
        await connection.execute(
            "INSERT INTO hermes.migrations VALUES ('projections', 999, 'later', '')"
        )
        with pytest.raises(MigrationFailed, match="newer Hermes"):
            await apply_migrations(connection, "projections.migrations", "projections")
    finally:
        await connection.close()


async def test_a_migration_that_was_changed_afterwards_is_refused(settings):
    await migrate(settings.database_url)
    connection = await asyncpg.connect(settings.database_url)
    try:
        await connection.execute("UPDATE hermes.migrations SET sha256 = 'other' WHERE number = 1")
        with pytest.raises(MigrationFailed, match="was changed"):
            await apply_migrations(connection, "projections.migrations", "projections")
    finally:
        await connection.close()
