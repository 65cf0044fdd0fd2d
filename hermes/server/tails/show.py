"""Answers with the tail of an execution that was found, be it live, lately ended or long past."""

from __future__ import annotations

from aiohttp import web

from hermes.server.call import Call
from hermes.server.lookup import Found, past_events
from hermes.server.tails.sse import Beginning, stream_tail
from hermes.server.tails.tail import Tail


async def show_tail(
    call: Call, found: Found, beginning: Beginning, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """Stream it, as the query's `follow` says."""
    follow = call.flag("follow", True)
    past = await past_events(call, found)
    with Tail(found.id, found.tap, follow=follow, past=past, closing=call.services.closing) as tail:
        return await stream_tail(
            call,
            tail,
            found.id,
            pool_topic=found.tap.fold.topic,
            beginning=beginning,
            headers=headers,
        )
