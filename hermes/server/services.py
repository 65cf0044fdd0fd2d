"""Everything that handlers need, opened once and closed together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncpg

from hermes.domain import events as ev
from hermes.domain.events import Recorded
from hermes.domain.registry import RegistryApplied, RegistryState
from hermes.errors import Unavailable
from hermes.server.accounts.idempotency import IdempotencyKeys
from hermes.server.accounts.limiter import FailureLimiter, TokenBucket
from hermes.server.accounts.passwords import Passwords
from hermes.server.accounts.store import Accounts
from hermes.server.closing import Closing
from hermes.server.consistency import SessionPositions
from hermes.server.cursors import OffsetCursors
from hermes.server.metrics import Metrics
from hermes.server.pool_tap import PoolTap
from hermes.server.tails.tokens import ResumeTokens
from hermes.server.turns import Turns
from hermes.settings import Settings
from infra.blobs import BlobStore
from projections.migrate import apply_migrations, connect_patiently, migrate
from projections.views import Views
from streams.fold import LogFold
from streams.log import LogWriter, PartitionReader, new_event, patiently
from streams.topics import Topics, ensure_topics

log = logging.getLogger(__name__)

_LONG_POLL_MS = 500
_HOUR = 3600.0


class Services:
    """Made by `Services.open`; the attributes are what handlers use."""

    settings: Settings
    topics: Topics
    database: asyncpg.Pool
    accounts: Accounts
    idempotency: IdempotencyKeys
    views: Views
    blobs: BlobStore
    writer: LogWriter
    output_writer: LogWriter
    registry: LogFold[RegistryState, RegistryApplied]
    taps: dict[str, PoolTap]
    tokens: ResumeTokens
    offsets: OffsetCursors
    openapi: bytes
    uploads: Path

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = Topics(settings.topic_prefix)
        self.taps = {}
        self.passwords = Passwords()
        self.failed_logins = FailureLimiter()
        #: One by one, so that what one guess costs counts for the next.
        self.logins = Turns()
        #: Bodies that are held in memory, by user.
        self.large_bodies = Turns(at_once=8)
        #: Each reads whole topics.
        self.audits = Turns()
        self.registrations = TokenBucket(rate=5.0, burst=200.0)
        self.sessions = SessionPositions()
        self.metrics = Metrics()
        self.open_tails: Counter[str] = Counter()
        self.closing = Closing()
        #: The first error that ends a reader; the process ends with it.
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.build_owners: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: dict[str, asyncio.Task[None]] = {}

    @classmethod
    async def open(cls, settings: Settings) -> Services:
        """Wait for Kafka and PostgreSQL, bring both up to date, and read the log to its end."""
        services = cls(settings)
        await asyncio.gather(services._open_database(), services._open_log())
        services.uploads = settings.home / "uploads"
        services.uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in services.uploads.iterdir():
            leftover.unlink()
        services.blobs = BlobStore(settings.blobs_url)
        secret = await services.accounts.secret("cursors")
        services.tokens = ResumeTokens(secret)
        services.offsets = OffsetCursors(secret)
        services._start(services._forget_old_keys())
        return services

    async def close(self) -> None:
        """Stop every reader and disconnect."""
        self.closing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(
            *(tap.stop() for tap in self.taps.values()),
            self.registry.stop(),
            self.writer.stop(),
            self.output_writer.stop(),
            return_exceptions=True,
        )
        await self.views.stop()
        self.passwords.close()
        if not self.broken.done():
            self.broken.cancel()
        try:
            await asyncio.wait_for(self.database.close(), 2.0)
        except TimeoutError:
            self.database.terminate()

    @property
    def folds(self) -> dict[str, LogFold[Any, Any]]:
        """What this process has read of the log, by topic."""
        pools: dict[str, LogFold[Any, Any]] = {
            tap.fold.topic: tap.fold for tap in self.taps.values()
        }
        return {self.registry.topic: self.registry, **pools}

    async def registry_end(self) -> int:
        """Where the registry's topic ends at this moment. Raises LogUnavailable."""
        return await self._registry_reader.end_offset()

    async def catch_up_registry(self) -> None:
        """Have the fold read everything that stands in the registry at this moment, bounded."""
        end = await self.registry_end()
        if end:
            await self.registry.reached(end - 1, timeout=5.0)

    async def _open_database(self) -> None:
        url = self.settings.database_url
        await migrate(url)
        connection = await connect_patiently(url)
        try:
            await apply_migrations(connection, "hermes.server.accounts.migrations", "accounts")
        finally:
            await connection.close()
        self.database = await asyncpg.create_pool(
            url,
            min_size=2,
            max_size=16,
            timeout=5,
            command_timeout=15,
            # Every statement here leaves its session as it was; a reset is one more round trip.
            reset=_leave_as_it_is,
            server_settings={"timezone": "UTC", "application_name": "hermes-api"},
        )
        self.accounts = Accounts(self.database)
        self.idempotency = IdempotencyKeys(self.database)
        self.views = Views(self.database)
        await self.views.start()

    async def _open_log(self) -> None:
        settings = self.settings
        timeout = settings.append_timeout
        self.writer = LogWriter(settings.bootstrap, timeout=timeout)
        self.output_writer = LogWriter(settings.bootstrap, timeout=timeout, batch_bytes=1024 * 1024)
        await asyncio.gather(self.writer.start(), self.output_writer.start())
        await patiently(lambda: ensure_topics(settings, settings.pool), "Kafka")
        topic = self.topics.registry
        reader = PartitionReader(settings.bootstrap, topic, max_wait_ms=_LONG_POLL_MS)
        self._registry_reader = reader
        self.registry = LogFold(RegistryState(topic=topic), reader, topic)
        self.registry.listen(self._on_registry)
        await self.registry.start()
        self._start(self.registry.follow())
        if settings.pool not in self.registry.state.pools:
            event = new_event(ev.PoolCreated(pool=settings.pool), "api")
            await self.registry.append(self.writer, settings.pool, event)
        await asyncio.gather(*(self._tap_opened(pool) for pool in self.registry.state.pools))
        for writer in (self.writer, self.output_writer):
            self._start(writer.watch())

    def _on_registry(self, record: Recorded, applied: RegistryApplied) -> None:
        if applied.function is not None and not applied.superseded:
            self.build_owners[applied.function.build_id] = applied.function.owner_id
        if applied.pool is not None and self._tasks:
            self._tap_opened(applied.pool)

    def _tap_opened(self, pool: str) -> asyncio.Task[None]:
        task = self._opening.get(pool)
        if task is None:
            task = self._opening[pool] = self._start(self._open_tap(pool))
        return task

    async def _open_tap(self, pool: str) -> None:
        tap = await PoolTap.open(pool, self.settings, self.writer)
        self.taps[pool] = tap
        self._start(tap.follow())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not self.broken.done():
            self.broken.set_exception(error or Unavailable())

    async def _forget_old_keys(self) -> None:
        while True:
            try:
                await self.idempotency.forget_old()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                log.warning("old idempotency keys could not be removed; trying again in an hour")
            await asyncio.sleep(_HOUR)


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    return
