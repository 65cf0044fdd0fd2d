"""HTTP connections: what is not HTTP gets a problem too, and slow headers get no endless wait."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from hermes.domain.ids import new_id
from hermes.errors import HermesError, InvalidRequest
from hermes.server.problems import problem_response

FIRST_REQUEST = 30.0
_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "keepalive_timeout": 75.0,
    "max_line_size": 16 * 1024,
    "max_field_size": 16 * 1024,
}


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_opening",)

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop, **_OPTIONS)
        self._opening: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; its first request must be complete in time."""
        super().connection_made(transport)
        self._opening = self._loop.call_later(FIRST_REQUEST, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client has gone."""
        if self._opening is not None:
            self._opening.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, or what no handler caught."""
        if status >= 500 and not isinstance(exc, ConnectionError):
            self.log_exception("a request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        error = (
            HermesError() if status >= 500 else InvalidRequest("this is not a valid HTTP request")
        )
        response = problem_response(error, f"urn:uuid:{new_id()}")
        response.force_close()
        return response

    def _close_if_silent(self) -> None:
        if self._request_count == 0 and self.transport is not None:
            self.transport.abort()
