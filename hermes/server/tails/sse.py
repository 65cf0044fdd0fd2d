"""A tail as server-sent events: frames, resume tokens, heartbeats, and where to begin."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Any

import asyncpg
import msgspec
from aiohttp import web

from hermes.domain.resources import Position
from hermes.errors import InvalidRequest, RateLimited, Unauthenticated
from hermes.server.call import Call
from hermes.server.tails.items import (
    AttemptItem,
    EndItem,
    EventItem,
    GapItem,
    Item,
    OutputItem,
    Place,
)
from hermes.server.tails.tail import Tail

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
}
# A client that takes nothing for so long is gone; it can come back with its last token.
_WRITE_PATIENCE = 300.0
# A tail may last for days: its token is looked at again after so long.
_TOKEN_TRUSTED = 15.0
_HEARTBEAT = b":\n\n"
_PIECE = 64 * 1024
# Of one user at once.
MOST_TAILS = 200
_encode = msgspec.json.Encoder().encode


class Beginning(msgspec.Struct, frozen=True):
    """Where a client begins: behind a place, or with output from a seq on."""

    behind: Place | None = None
    since: int = 0

    def shows(self, item: Item) -> bool:
        """Whether this item belongs to what the client asked for."""
        if self.behind is not None and item.place <= self.behind:
            return False
        match item:
            case OutputItem():
                return item.chunk.seq >= self.since
            case GapItem():
                return item.to_seq >= self.since
        return True


def beginning_of(call: Call, execution_id: str) -> Beginning:
    """`Last-Event-ID` and `since`. Raises InvalidCursor, InvalidRequest."""
    since = call.query("since") or "0"
    if not (since.isascii() and since.isdigit() and len(since) <= 15):
        raise InvalidRequest("since must be a sequence number, 0 or above")
    token = call.request.headers.get("Last-Event-ID")
    behind = call.services.tokens.read(execution_id, token) if token else None
    return Beginning(behind, int(since))


async def stream_tail(
    call: Call,
    tail: Tail,
    execution_id: str,
    *,
    pool_topic: str,
    beginning: Beginning,
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with the tail until it ends, the client leaves or the server closes."""
    response = web.StreamResponse(headers={**HEADERS, **(headers or {})})
    if call.request.method == "HEAD":
        await response.prepare(call.request)
        return response
    metrics, open_tails = call.services.metrics, call.services.open_tails
    if open_tails[call.user.id] >= MOST_TAILS:
        raise RateLimited(f"you have {MOST_TAILS} tails open", retry_after=5.0)
    open_tails[call.user.id] += 1
    metrics.tails.inc()
    checked = time.monotonic()
    try:
        await response.prepare(call.request)
        async with aclosing(tail.items()) as batches:
            async for items in batches:
                if time.monotonic() - checked > _TOKEN_TRUSTED:
                    await _check_token(call)
                    checked = time.monotonic()
                shown = [item for item in items if beginning.shows(item)]
                for piece in _pieces(_frame(call, execution_id, item) for item in shown):
                    await asyncio.wait_for(response.write(piece), _WRITE_PATIENCE)
                for item in items:
                    if isinstance(item, EndItem):
                        end = Position(pool_topic, 0, item.place.event)
                        call.services.sessions.saw(call.user.id, end)
        await response.write_eof()
    except (ConnectionError, TimeoutError, Unauthenticated):
        # The client left, and gets what it has not seen with its last token; or it may see no more.
        call.request.protocol.force_close()
    finally:
        metrics.tails.dec()
        open_tails[call.user.id] -= 1
        if not open_tails[call.user.id]:
            del open_tails[call.user.id]
    return response


async def _check_token(call: Call) -> None:
    """Raises Unauthenticated once the token is revoked, or its user gone."""
    try:
        await call.authenticate()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return  # a tail lives by the log alone; the next look will tell


def _pieces(frames: Iterable[bytes]) -> Iterator[bytes]:
    """The frames in pieces, small ones together; a heartbeat if there are none. Only one piece is
    made at a time: it waits in memory for as long as its client is slow."""
    waiting: list[bytes] = []
    size = count = 0
    for frame in frames:
        waiting.append(frame)
        size += len(frame)
        count += 1
        if size >= _PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting or not count:
        yield b"".join(waiting) or _HEARTBEAT


def _frame(call: Call, execution_id: str, item: Item) -> bytes:
    token = call.services.tokens.write(execution_id, item.place)
    name, data = _shape(item)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (token.encode(), name, _encode(data))


def _shape(item: Item) -> tuple[bytes, Any]:
    match item:
        case EventItem():
            return b"event", item.event
        case OutputItem():
            chunk = item.chunk
            return b"output", {
                "attempt": chunk.attempt,
                "seq": chunk.seq,
                "stream": chunk.stream,
                "offset": chunk.offset,
                "time": chunk.time,
                "data": base64.b64encode(chunk.data).decode(),
            }
        case AttemptItem():
            return b"attempt", {"attempt": item.attempt, "reason": item.reason}
        case GapItem():
            return b"gap", {
                "attempt": item.attempt,
                "from_seq": max(item.from_seq, 0),
                "to_seq": item.to_seq,
                "reason": item.reason,
            }
    return b"end", {
        "status": item.status,
        "outcome": item.outcome,
        "exit_code": item.exit_code,
        "signal": item.signal,
        "last_seq": item.last_seq,
        "complete": item.complete,
    }
