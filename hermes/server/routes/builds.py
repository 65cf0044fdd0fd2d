"""Builds: trying one without registering, and looking at any."""

from __future__ import annotations

import hashlib

from aiohttp import web

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.resources import Input
from hermes.domain.shapes import execution_shape
from hermes.server.call import Call, json_response
from hermes.server.lookup import find_build
from hermes.server.routes.functions import CONTENT_TYPES, checked_source
from hermes.server.submit import append_fresh, refuse_more_live
from hermes.server.tails.show import show_tail
from hermes.server.tails.sse import beginning_of
from hermes.server.uploads import received, require_content_type

_NO_INPUT = Input(bytes=0, sha256=hashlib.sha256(b"").hexdigest())


async def create(call: Call) -> web.StreamResponse:
    """POST /builds: build what is sent; nothing is registered."""
    services, user = call.services, call.user
    require_content_type(call.request, *CONTENT_TYPES)
    settings = services.settings
    tap = services.taps[settings.pool]
    refuse_more_live(tap, user)
    async with received(call, settings.max_source) as upload:
        config = await checked_source(upload, settings)
        await services.blobs.put_file(upload.path, upload.sha256)
    build_id = new_id()
    data = ev.ExecutionRequested(
        execution_id=build_id,
        execution_kind="build",
        function=f"{user.username}/{config.function_name}",
        version=config.function_version,
        artifact_sha256=None,
        source_sha256=upload.sha256,
        handler=config.handler,
        language=config.language,
        owner=user.username,
        owner_id=user.id,
        pool=settings.pool,
        input=_NO_INPUT,
        limits=settings.build_limits,
        gpu=None,
    )
    submitted = await append_fresh(services, tap, data, user.actor)
    headers = call.wrote(submitted.position)
    headers["Location"] = f"/v1/builds/{build_id}"
    return json_response(execution_shape(submitted.state), 202, headers)


async def get(call: Call) -> web.StreamResponse:
    """GET /builds/{id}."""
    return json_response((await find_build(call)).body)


async def tail(call: Call) -> web.StreamResponse:
    """GET /builds/{id}/tail."""
    found = await find_build(call)
    return await show_tail(call, found, beginning_of(call, found.id))
