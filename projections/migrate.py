"""Numbered migrations, applied once and in order, whoever comes first.

`apply_migrations` serves any package that holds `NNNN_what_it_does.sql` files; `migrate` brings the
projections' own schema up to date and makes sure that every projection has a generation.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import logging
import re

import asyncpg
import msgspec

from hermes.errors import ServerFault, Unavailable
from projections.generations import ensure_generations

log = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")
_LOCK = 0x4845524D4553  # one migrator at a time: processes start together
_TABLE = """
CREATE SCHEMA IF NOT EXISTS hermes;
CREATE TABLE IF NOT EXISTS hermes.migrations (
    namespace text NOT NULL,
    number integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (namespace, number)
)
"""


class MigrationFailed(ServerFault):
    """The database cannot be brought up to date"""


class Migration(msgspec.Struct, frozen=True):
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """What a database remembers of it."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations_of(package: str) -> list[Migration]:
    """The package's migrations by number. Raises MigrationFailed if numbers have holes."""
    found = []
    for file in importlib.resources.files(package).iterdir():
        match = _FILE.match(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name, file.read_text("utf-8")))
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationFailed(f"the migrations of {package} are not numbered 1, 2, 3 …")
    return found


async def apply_migrations(
    connection: asyncpg.Connection, package: str, namespace: str
) -> list[str]:
    """Apply what is missing, all of it or nothing; returns the names of what was applied.

    Raises MigrationFailed if the database was migrated by a newer Hermes, or by other files.
    """
    wanted = migrations_of(package)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        rows = await connection.fetch(
            "SELECT number, name, sha256 FROM hermes.migrations WHERE namespace = $1", namespace
        )
        applied = {row["number"]: row for row in rows}
        if len(applied) > len(wanted):
            raise MigrationFailed("the database was used by a newer Hermes: upgrade this one")
        done = []
        for migration in wanted:
            known = applied.get(migration.number)
            if known is None:
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO hermes.migrations (namespace, number, name, sha256) "
                    "VALUES ($1, $2, $3, $4)",
                    namespace,
                    migration.number,
                    migration.name,
                    migration.sha256,
                )
                done.append(migration.name)
            elif known["sha256"] != migration.sha256:
                raise MigrationFailed(f"{known['name']} was changed after it had been applied")
        return done


async def migrate(database_url: str, patience: float = 60.0) -> None:
    """Bring the schema `hermes` up to date. Idempotent; waits for PostgreSQL for `patience`
    seconds. Raises MigrationFailed, Unavailable."""
    connection = await connect_patiently(database_url, patience)
    try:
        for name in await apply_migrations(connection, "projections.migrations", "projections"):
            log.info("applied %s", name)
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await ensure_generations(connection)
    finally:
        await connection.close()


async def connect_patiently(database_url: str, patience: float = 60.0) -> asyncpg.Connection:
    """A connection, once PostgreSQL answers. Raises Unavailable after `patience` seconds."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            return await asyncpg.connect(database_url, timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f"PostgreSQL did not answer in {patience:.0f} s: {error}"
                ) from None
            await asyncio.sleep(0.1)
