"""One request on its way to a handler: who asks, what with, and how answers are made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from hermes.domain.resources import Position
from hermes.errors import InvalidRequest, PositionNotReached, Unauthenticated
from hermes.server.accounts.store import Account
from hermes.server.consistency import parse_positions
from hermes.server.services import Services

Handler = Callable[["Call"], Awaitable[web.StreamResponse]]

SESSION_WAIT = 2.0
REQUESTED_WAIT = 5.0
MAX_PAGE = 200
_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Call:
    """What a handler gets. `user` is there on every route that needs a token."""

    def __init__(self, request: web.Request, services: Services) -> None:
        self.request = request
        self.services = services
        self.token = ""
        self._user: Account | None = None

    @property
    def user(self) -> Account:
        """Who asks."""
        if self._user is None:
            raise Unauthenticated
        return self._user

    async def authenticate(self) -> None:
        """Find out who asks. Raises Unauthenticated."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("send the header Authorization: Bearer TOKEN")
        if len(token) > 200 or not token.isascii():
            raise Unauthenticated("the token is unknown, expired or revoked: log in again")
        self._user = await self.services.accounts.by_token(token)
        self.token = token

    async def wait_as_asked(self, *, views: bool) -> None:
        """Wait until this process has folded the positions of `Hermes-After`.

        The views must have passed them too with `views`, and without it those that no fold knows.
        Raises InvalidRequest, PositionNotReached.
        """
        asked = self.request.headers.get("Hermes-After")
        if asked is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + REQUESTED_WAIT
        viewed, folds = [], self.services.folds
        for position in parse_positions(asked):
            fold = folds.get(position.topic) if position.partition == 0 else None
            if fold is None or views:
                viewed.append(position)
            if fold is not None and not await fold.reached(
                position.offset, timeout=max(0.0, deadline - loop.time())
            ):
                raise PositionNotReached(f"{position} was not reached in {REQUESTED_WAIT:g} s")
        await self.services.views.wait_for(viewed, timeout=max(0.0, deadline - loop.time()))

    async def wait_for_own_writes(self) -> None:
        """Wait, for a moment only, until the views show what this user has written or seen."""
        seen = self.services.sessions.of(self.user.id)
        if seen:
            try:
                await self.services.views.wait_for(seen, timeout=SESSION_WAIT)
            except PositionNotReached:
                return

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return self.request.remote or "unknown"

    def path(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    def query(self, name: str) -> str | None:
        """A query parameter; None if absent or empty. Raises InvalidRequest if given twice."""
        values = self.request.query.getall(name, [])
        if len(values) > 1:
            raise InvalidRequest(f"the parameter {name} is given more than once")
        if values and ("\0" in values[0] or not _is_unicode(values[0])):
            raise InvalidRequest(f"the parameter {name} is not valid text")
        return values[0] if values and values[0] else None

    def flag(self, name: str, default: bool) -> bool:
        """A query parameter that is true or false."""
        value = self.query(name)
        if value is None:
            return default
        if value not in ("true", "false"):
            raise InvalidRequest(f"{name} must be true or false")
        return value == "true"

    def page(self) -> tuple[int, str | None]:
        """`limit` and `cursor` of a list. Raises InvalidRequest."""
        text = self.query("limit")
        if text is None:
            return 50, self.query("cursor")
        if not (text.isascii() and text.isdigit() and len(text) < 6):
            raise InvalidRequest(f"limit must be 1 to {MAX_PAGE}")
        limit = int(text)
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequest(f"limit must be 1 to {MAX_PAGE}")
        return limit, self.query("cursor")

    def wrote(self, position: Position) -> dict[str, str]:
        """Remember the caller's write; the header that tells where it stands."""
        self.services.sessions.saw(self.user.id, position)
        return {"Hermes-Position": str(position)}


def json_response(
    value: Any, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Any msgspec shape, or JSON bytes as they are."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return web.Response(
        status=status,
        body=body,
        content_type="application/json",
        headers={**_NO_STORE, **(headers or {})},
    )


def no_content() -> web.Response:
    """204."""
    return web.Response(status=204, headers=_NO_STORE)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
