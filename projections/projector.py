"""The role `projector`: `python -m projections.projector`.

Only one projector works at a time, others stand by; a zombie is caught by its checkpoints and ends.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import asyncpg
import uvloop

from hermes.errors import HermesError, Unavailable
from hermes.readiness import report_ready
from hermes.settings import Settings
from projections.database import open_writers
from projections.feeding import Projector
from projections.migrate import connect_patiently, migrate
from projections.rebuild_runner import RebuildRunner
from streams.log import patiently
from streams.topics import ensure_topics

log = logging.getLogger(__name__)

_LOCK = 0x4845524D50524F4A


async def run(settings: Settings) -> None:
    """The whole life of the role, until cancelled."""
    await migrate(settings.database_url)
    await patiently(lambda: ensure_topics(settings, settings.pool), "Kafka")
    lock = await connect_patiently(settings.database_url)
    pool = await open_writers(settings.database_url)
    try:
        await _become_the_only_one(lock)
        async with asyncio.TaskGroup() as group:
            group.create_task(Projector(settings, pool).run())
            group.create_task(RebuildRunner(pool).run())
            group.create_task(_end_with(lock))
            report_ready()
    finally:
        pool.terminate()
        lock.terminate()


async def _become_the_only_one(connection: asyncpg.Connection) -> None:
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        log.info("another projector is at work; standing by")
        report_ready()
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=None)


async def _end_with(connection: asyncpg.Connection) -> None:
    """Without its lock a projector must not go on: another one may hold it by now."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    await lost.wait()
    raise Unavailable("the connection to PostgreSQL that holds the projector's lock broke")


async def _until_signalled(settings: Settings) -> None:
    work = asyncio.create_task(run(settings))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        log.info("stopped")


def main() -> int:
    """Exit status: 0 after a signal, 1 after a failure that a restart may mend."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # In an outage it writes hundreds of lines a second; the feeds say what matters.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        uvloop.run(_until_signalled(Settings.from_env()))
    except HermesError as error:
        log.error("%s: %s", error.title(), error.detail)
        return 1
    except BaseExceptionGroup as group:
        log.error("the projector ends", exc_info=group)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
