"""Idempotency keys: a row per (user, route, key), written before anything is appended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from hermes.errors import IdempotencyMismatch, InvalidRequest
from hermes.server.turns import Turns

KEPT = timedelta(hours=24)
_MAX_KEY = 128


class Answer(msgspec.Struct, frozen=True):
    """What the first request was answered."""

    status: int
    body: msgspec.Raw
    headers: dict[str, str]


class IdempotencyKeys:
    """Requests with the same key happen once; later ones get the first answer."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._turns = Turns()

    @asynccontextmanager
    async def one_at_a_time(self, user_id: str, route: str, key: str) -> AsyncIterator[None]:
        """Requests with the same key wait for each other; across servers the fold decides."""
        async with self._turns.of((user_id, route, key)):
            yield

    async def first_answer(
        self, user_id: str, route: str, key: str, digest: bytes
    ) -> tuple[str | None, Answer | None]:
        """The id that the first request was given, and its answer if it got one.

        Raises IdempotencyMismatch if the first request had another body.
        """
        row = await self._pool.fetchrow(
            "SELECT digest, subject_id, answer FROM accounts.idempotency "
            "WHERE user_id = $1 AND route = $2 AND key = $3 AND created_at > $4",
            user_id,
            route,
            key,
            datetime.now(UTC) - KEPT,
        )
        if row is None:
            return None, None
        if row["digest"] != digest:
            raise IdempotencyMismatch
        answer = row["answer"]
        return row["subject_id"], msgspec.json.decode(answer, type=Answer) if answer else None

    async def claim(
        self, user_id: str, route: str, key: str, digest: bytes, subject_id: str
    ) -> str:
        """Write the row; returns the id that counts, an earlier request's if there was one.

        Raises IdempotencyMismatch.
        """
        now = datetime.now(UTC)
        row = await self._pool.fetchrow(
            "INSERT INTO accounts.idempotency AS i "
            "(user_id, route, key, digest, subject_id, created_at) VALUES ($1, $2, $3, $4, $5, $6) "
            "ON CONFLICT (user_id, route, key) DO UPDATE SET digest = excluded.digest, "
            "subject_id = excluded.subject_id, answer = NULL, created_at = excluded.created_at "
            "WHERE i.created_at <= $7 RETURNING subject_id",
            user_id,
            route,
            key,
            digest,
            subject_id,
            now,
            now - KEPT,
        )
        if row is not None:
            return subject_id
        first, _ = await self.first_answer(user_id, route, key, digest)
        return first or subject_id

    async def answered(self, user_id: str, route: str, key: str, answer: Answer) -> None:
        """Keep the first answer for those who ask again."""
        await self._pool.execute(
            "UPDATE accounts.idempotency SET answer = $4 "
            "WHERE user_id = $1 AND route = $2 AND key = $3 AND answer IS NULL",
            user_id,
            route,
            key,
            msgspec.json.encode(answer),
        )

    async def forget_old(self) -> None:
        """Remove the rows of yesterday and before."""
        await self._pool.execute(
            "DELETE FROM accounts.idempotency WHERE created_at <= $1", datetime.now(UTC) - KEPT
        )


def checked_key(text: str) -> str:
    """An Idempotency-Key header's value. Raises InvalidRequest."""
    if not 1 <= len(text) <= _MAX_KEY or not all("!" <= c <= "~" for c in text):
        raise InvalidRequest(f"Idempotency-Key must be 1 to {_MAX_KEY} visible ASCII characters")
    return text
