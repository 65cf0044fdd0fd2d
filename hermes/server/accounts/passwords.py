"""Passwords: argon2id, a bounded number at a time, because each takes 64 MiB while it is hashed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from hermes.errors import RateLimited

MIN_BYTES = 12
MAX_BYTES = 128
_AT_ONCE = 2
_WAITING = 200

ResultT = TypeVar("ResultT")


class Passwords:
    """Hashes and checks in threads of its own."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0
        # Checked for users who do not exist, so that the answer takes as long as for one who does.
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))

    async def hash(self, password: str) -> str:
        """The hash to store. Raises RateLimited when too many wait."""
        return await self._in_thread(self._hasher.hash, password)

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether this is the password; takes the same time for an unknown user (None)."""
        if not MIN_BYTES <= len(password.encode()) <= MAX_BYTES:
            password, stored = "x" * MIN_BYTES, None
        good = await self._in_thread(self._verify, stored or self._nobody, password)
        return good and stored is not None

    def close(self) -> None:
        """End the threads once they are idle."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[..., ResultT], *args: str) -> ResultT:
        if self._waiting >= _WAITING:
            raise RateLimited("too many logins at this moment", retry_after=5.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        finally:
            self._waiting -= 1
