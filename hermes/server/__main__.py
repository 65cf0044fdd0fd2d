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
from hermes.server.logs import configure_logging
from hermes.server.services import Services
from hermes.settings import Settings

# What is left of a clean stop's five seconds once the tails have ended.
_SHUTDOWN = 2.0
_KEEP_ALIVE = 75.0
_MAX_HEADER = 16 * 1024
_BACKLOG = 1024


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises what ended a reader of the log."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    services = await Services.open(settings)
    try:
        runner = web.AppRunner(
            make_app(services),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=_KEEP_ALIVE,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            shutdown_timeout=_SHUTDOWN,
        )
        await _serve_until(stopping, runner, services, settings)
    finally:
        await services.close()


async def _serve_until(
    stopping: asyncio.Event, runner: web.AppRunner, services: Services, settings: Settings
) -> None:
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=_BACKLOG)
        await site.start()
        report_ready()
        waiting = asyncio.ensure_future(stopping.wait())
        await asyncio.wait((waiting, services.broken), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if services.broken.done():
            services.broken.result()
    finally:
        services.closing.set()
        await runner.cleanup()


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
