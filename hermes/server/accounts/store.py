"""Users and their tokens in PostgreSQL. Only hashes of secrets are stored."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from hermes.domain.ids import new_id
from hermes.domain.shapes import User
from hermes.domain.times import timestamp
from hermes.errors import AlreadyExists, Unauthenticated

TOKEN_PREFIX = "hms_"  # noqa: S105 - the prefix alone opens nothing
TOKEN_LIFE = timedelta(days=30)
_FIRST_ACCOUNT_LOCK = 0x61646D696E


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user who is logged in."""

    id: str
    username: str
    admin: bool
    created_at: datetime

    @property
    def shape(self) -> User:
        """As REST shows it."""
        return User(username=self.username, admin=self.admin, created_at=timestamp(self.created_at))

    @property
    def actor(self) -> str:
        """As events name it."""
        return f"user:{self.username}"


class NewToken(msgspec.Struct, frozen=True):
    """A token, shown this once."""

    text: str
    expires_at: datetime


_ACCOUNT = "u.id, u.username, u.admin, u.created_at"


class Accounts:
    """The queries. Whatever fails on the database's side raises; nobody is let in by it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def register(self, username: str, password_hash: str) -> Account:
        """A new user; the first one ever is the admin. Raises AlreadyExists, also for names of
        deleted users: a name is not given away a second time."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _FIRST_ACCOUNT_LOCK)
            row = await connection.fetchrow(
                "INSERT INTO accounts.users (id, username, admin, password_hash, created_at) "
                "SELECT $1, $2, NOT EXISTS (SELECT FROM accounts.users), $3, $4 "
                "ON CONFLICT (username) DO NOTHING RETURNING id, username, admin, created_at",
                new_id(),
                username,
                password_hash,
                datetime.now(UTC),
            )
        if row is None:
            raise AlreadyExists(f"the username {username} is taken")
        return Account(**row)

    async def exists(self, username: str) -> bool:
        """Whether the name is or was in use."""
        return bool(
            await self._pool.fetchval("SELECT 1 FROM accounts.users WHERE username = $1", username)
        )

    async def with_password(self, username: str) -> tuple[Account | None, str | None]:
        """The user and the password's hash; twice None for unknown and deleted ones."""
        row = await self._pool.fetchrow(
            f"SELECT {_ACCOUNT}, u.password_hash FROM accounts.users u "  # noqa: S608 - constant
            "WHERE u.username = $1 AND u.deleted_at IS NULL",
            username,
        )
        if row is None:
            return None, None
        return Account(**{k: v for k, v in row.items() if k != "password_hash"}), row[
            "password_hash"
        ]

    async def new_token(self, account: Account) -> NewToken:
        """A token of this user."""
        text = TOKEN_PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        await self._pool.execute(
            "INSERT INTO accounts.tokens (sha256, user_id, created_at, expires_at) "
            "VALUES ($1, $2, $3, $4)",
            token_hash(text),
            account.id,
            now,
            now + TOKEN_LIFE,
        )
        return NewToken(text, now + TOKEN_LIFE)

    async def by_token(self, text: str) -> Account:
        """Whose token this is. Raises Unauthenticated for unknown, expired and revoked ones."""
        row = await self._pool.fetchrow(
            f"SELECT {_ACCOUNT} FROM accounts.tokens t "  # noqa: S608 - constant
            "JOIN accounts.users u ON u.id = t.user_id "
            "WHERE t.sha256 = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 "
            "AND u.deleted_at IS NULL",
            token_hash(text),
            datetime.now(UTC),
        )
        if row is None:
            raise Unauthenticated("the token is unknown, expired or revoked: log in again")
        return Account(**row)

    async def revoke(self, text: str) -> None:
        """The token opens nothing any more."""
        await self._pool.execute(
            "UPDATE accounts.tokens SET revoked_at = $2 WHERE sha256 = $1",
            token_hash(text),
            datetime.now(UTC),
        )

    async def delete(self, account: Account) -> None:
        """End the account and all its tokens; the name stays taken."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "UPDATE accounts.users SET deleted_at = $2, password_hash = NULL WHERE id = $1",
                account.id,
                datetime.now(UTC),
            )
            for table in ("tokens", "idempotency", "blobs"):
                await connection.execute(
                    f"DELETE FROM accounts.{table} WHERE user_id = $1",  # noqa: S608 - constants
                    account.id,
                )

    async def secret(self, name: str) -> bytes:
        """A secret of this installation, made up when first asked for."""
        await self._pool.execute(
            "INSERT INTO accounts.secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            name,
            secrets.token_bytes(32),
        )
        value: bytes = await self._pool.fetchval(
            "SELECT value FROM accounts.secrets WHERE name = $1", name
        )
        return value

    async def add_blob(self, account: Account, sha256: str, size: int) -> bool:
        """Note that the user has uploaded these bytes; False if that was known."""
        result: str = await self._pool.execute(
            "INSERT INTO accounts.blobs (user_id, sha256, bytes, uploaded_at) "
            "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            account.id,
            sha256,
            size,
            datetime.now(UTC),
        )
        return result.endswith(" 1")

    async def blob_size(self, account: Account, sha256: str) -> int | None:
        """The size of a blob that this user has uploaded; None for any other."""
        size: int | None = await self._pool.fetchval(
            "SELECT bytes FROM accounts.blobs WHERE user_id = $1 AND sha256 = $2",
            account.id,
            sha256,
        )
        return size


def token_hash(text: str) -> bytes:
    """What is stored of a token. Its 256 random bits need no slow hash."""
    return hashlib.sha256(text.encode()).digest()
