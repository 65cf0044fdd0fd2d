"""Bodies that go to a file: counted, hashed, bounded in size and in time without progress."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import web

from hermes.errors import InvalidRequest, RateLimited, TooLarge, UnsupportedMediaType
from hermes.server.call import Call
from hermes.server.json_body import refuse_content_encoding

IDLE = 30.0
TOTAL = 900.0
_AT_ONCE = 32
_AT_ONCE_OF_ONE_USER = 8
_open: Counter[str] = Counter()


class Upload(msgspec.Struct, frozen=True):
    """A received body; the file is gone when its context ends."""

    path: Path
    bytes: int
    sha256: str


@asynccontextmanager
async def received(call: Call, most: int) -> AsyncIterator[Upload]:
    """The body in a file of its own. Raises TooLarge, InvalidRequest, RateLimited."""
    request, user_id = call.request, call.user.id
    refuse_content_encoding(request)
    if request.content_length is not None and request.content_length > most:
        raise TooLarge(f"the body has {request.content_length} bytes, {most} are allowed")
    if _open[user_id] >= _AT_ONCE_OF_ONE_USER:
        raise RateLimited(f"you have {_open[user_id]} uploads under way", retry_after=2.0)
    if _open.total() >= _AT_ONCE:
        raise RateLimited("too many uploads at this moment", retry_after=2.0)
    _open[user_id] += 1
    path = call.services.uploads / secrets.token_hex(16)
    try:
        yield await _receive(request, path, most)
    finally:
        _open[user_id] -= 1
        if not _open[user_id]:
            del _open[user_id]
        path.unlink(missing_ok=True)


async def _receive(request: web.Request, path: Path, most: int) -> Upload:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        try:
            async with asyncio.timeout(TOTAL):
                while piece := await asyncio.wait_for(request.content.readany(), IDLE):
                    size += len(piece)
                    if size > most:
                        raise TooLarge(f"the body may have {most} bytes")
                    digest.update(piece)
                    file.write(piece)
        except TimeoutError:
            raise InvalidRequest("the body came too slowly") from None
    return Upload(path, size, digest.hexdigest())


def require_content_type(request: web.Request, *wanted: str) -> None:
    """Raises UnsupportedMediaType unless the body is declared as one of these."""
    if request.content_type not in wanted:
        raise UnsupportedMediaType(f"send Content-Type: {wanted[0]}")
