"""One stream of an execution as bytes, whole or a range of it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import IO

import msgspec
from aiohttp import web

from hermes.domain.resources import StreamDigest
from hermes.domain.shapes import Execution
from hermes.errors import NotFound, RangeNotSatisfiable, Unavailable
from hermes.server.call import Call
from hermes.server.lookup import Found, find_execution, past_events
from hermes.server.tails.items import EndItem, EventItem, GapItem, OutputItem
from hermes.server.tails.tail import Tail
from hermes.server.turns import Turns

_IN_MEMORY = 4 * 1024 * 1024
_PIECE = 256 * 1024
# Each takes as much of the disk as the output is long, so those of one user wait for each other.
_reads = Turns(at_once=4)
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")
_HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "attachment",
}


class Collected(msgspec.Struct):
    """What one attempt wrote to one stream so far."""

    file: IO[bytes]
    bytes: int = 0
    complete: bool = True
    ended: bool = False


async def get(call: Call) -> web.StreamResponse:
    """GET /executions/{id}/output/{stream}: of the newest attempt; so far, while it runs."""
    stream = call.path("stream")
    if stream not in ("stdout", "stderr"):
        raise NotFound("an execution has the streams stdout and stderr")
    found = await find_execution(call)
    tag = _tag(found, stream)
    if tag is not None and call.request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={**_HEADERS, "ETag": tag})
    async with _reads.of((call.user.id,)):
        return await _read_and_send(call, found, stream)


async def _read_and_send(call: Call, found: Found, stream: str) -> web.StreamResponse:
    with _spool() as file:
        collected = await _collect(call, found, stream, file)
        headers = dict(_HEADERS)
        if collected.ended:
            # It may have ended while we read: what its end says, it says of what we have.
            digest = _digest(await find_execution(call), stream)
            if digest is None:
                # It ended without an agent's word, so what counts is what stands in the log.
                headers["ETag"] = f'"{_sha256(file)}"'
            elif not collected.complete or collected.bytes != digest.bytes:
                raise Unavailable("a part of this output is missing")
            else:
                headers["ETag"] = f'"{digest.sha256}"'
        return await _send(call, collected, headers)


def _digest(found: Found, stream: str) -> StreamDigest | None:
    execution = msgspec.json.decode(found.body, type=Execution)
    return (execution.output or {}).get(stream)


def _tag(found: Found, stream: str) -> str | None:
    digest = _digest(found, stream)
    return None if digest is None else f'"{digest.sha256}"'


async def _collect(call: Call, found: Found, stream: str, file: IO[bytes]) -> Collected:
    collected = Collected(file)
    past = await past_events(call, found)
    with Tail(found.id, found.tap, follow=False, past=past) as tail:
        async with aclosing(tail.items()) as batches:
            async for items in batches:
                for item in items:
                    match item:
                        case EventItem() if item.event.kind == "execution.started":
                            file.seek(0)
                            file.truncate()
                            collected.bytes, collected.complete = 0, True
                        case GapItem():
                            collected.complete = False
                        case EndItem():
                            collected.ended = True
                        case OutputItem() if item.chunk.stream == stream:
                            file.write(item.chunk.data)
                            collected.bytes += len(item.chunk.data)
    return collected


async def _send(call: Call, collected: Collected, headers: dict[str, str]) -> web.StreamResponse:
    size = collected.bytes
    wanted = _range(call, size, headers.get("ETag"))
    first, last = wanted or (0, size - 1)
    status = 200
    if wanted is not None:
        status = 206
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    headers["Content-Length"] = str(last - first + 1)
    headers["Content-Type"] = "application/octet-stream"
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(call.request)
    if call.request.method == "HEAD":
        return response
    collected.file.seek(first)
    left = last - first + 1
    while left > 0:
        piece = collected.file.read(min(left, _PIECE))
        await asyncio.wait_for(response.write(piece), 300.0)
        left -= len(piece)
    await response.write_eof()
    return response


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _range(call: Call, size: int, etag: str | None) -> tuple[int, int] | None:
    """The one range asked for; None for the whole. Raises RangeNotSatisfiable."""
    header = call.request.headers.get("Range")
    if header is None or call.request.headers.get("If-Range", etag) != etag:
        return None
    match = _RANGE.match(header.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        # RFC 9110: a range that cannot be read, or several, may be ignored.
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        if length == 0:
            raise _outside(size)
        return size - length, size - 1
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if first >= size:
        raise _outside(size)
    if last < first:
        return None
    return first, last


def _outside(size: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(f"the output has {size} bytes", size)


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        yield file
