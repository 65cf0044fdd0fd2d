"""How a role's process runs: logging, settings, signals, and an honest exit status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import uvloop

from hermes.errors import HermesError
from hermes.settings import Settings

RoleMain = Callable[[Settings, asyncio.Event], Awaitable[None]]


class _Once(logging.Filter):
    """Kafka's client writes hundreds of the same line in an outage; one every 5 s says it too."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.lineno)
        if record.created - self._seen.get(key, 0.0) < 5.0:
            return False
        self._seen[key] = record.created
        return True


def configure_logging(role: str) -> None:
    """One line per record on stderr, with the role's name; HERMES_LOG_LEVEL sets the level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s {role} %(levelname)s %(name)s: %(message)s")
    )
    level = os.environ.get("HERMES_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level, handlers=[handler], force=True)
    once = _Once()
    for noisy in ("aiokafka", "kafka", "faust", "mode"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    handler.addFilter(
        lambda r: not r.name.startswith(("aiokafka", "faust", "mode")) or once.filter(r)
    )


def run_role(role: str, main: RoleMain) -> None:
    """Run `main(settings, stop)` until it returns; `stop` is set by SIGTERM or SIGINT.

    Exits 0 after a clean stop, 1 after a crash, so that a supervisor knows which it was.
    """
    configure_logging(role)
    log = logging.getLogger(role)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await main(Settings.from_env(), stop)

    try:
        uvloop.run(run())
    except HermesError as error:
        log.error("%s: %s", error.title(), error.detail)
        sys.exit(1)
    except Exception:
        log.exception("crashed")
        sys.exit(1)


async def serve(stop: asyncio.Event, tasks: Iterable[Awaitable[Any]]) -> None:
    """Run the role's tasks until `stop`, or raise what the first of them that ends raised."""
    running = [asyncio.ensure_future(task) for task in tasks]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()
            raise RuntimeError(f"{task} ended, which it never should")
    finally:
        for task in (*running, stopping):
            task.cancel()
        for task in (*running, stopping):
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
