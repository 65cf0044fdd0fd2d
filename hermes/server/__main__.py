"""The role `api`: `python -m hermes.server`."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop
from aiohttp import web

from hermes.errors import HermesError
from hermes.readiness import report_ready
from hermes.server.app import make_app
from hermes.server.connection import Connection
from hermes.server.logs import configure_logging
from hermes.server.services import Services
from hermes.settings import Settings

# What is left of a clean stop's five seconds once the tails have ended.
_SHUTDOWN = 2.0
_BACKLOG = 1024


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises what ended a reader of the log."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    services = await Services.open(settings)
    try:
        runner = web.AppRunner(make_app(services), handle_signals=False, shutdown_timeout=_SHUTDOWN)
        await runner.setup()
        try:
            await _serve_until(stopping, runner.server, services, settings)
        finally:
            services.closing.set()
            await runner.cleanup()
    finally:
        await services.close()


async def _serve_until(
    stopping: asyncio.Event, server: web.Server | None, services: Services, settings: Settings
) -> None:
    assert server is not None
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: Connection(server, loop), settings.host, settings.port, backlog=_BACKLOG
    )
    try:
        report_ready()
        waiting = asyncio.ensure_future(stopping.wait())
        await asyncio.wait((waiting, services.broken), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if services.broken.done():
            services.broken.result()
    finally:
        listening.close()


def main() -> int:
    """Exit 0 after a clean stop, 1 when something failed."""
    configure_logging()
    try:
        uvloop.run(serve(Settings.from_env()))
    except HermesError as error:
        print(f"hermes.server: {type(error).title()}: {error.detail}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
