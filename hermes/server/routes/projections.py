"""Projections: how far each is, and rebuilding one. For admins."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from aiohttp import web

from hermes.errors import NotFound, Unavailable
from hermes.server.call import Call, json_response
from hermes.server.services import Services

_PATIENCE = 5.0


async def list_all(call: Call) -> web.StreamResponse:
    """GET /projections."""
    services = call.services

    async def end_offsets(partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        ends = await asyncio.gather(*(_end(services, *partition) for partition in partitions))
        return dict(zip(partitions, ends, strict=True))

    return json_response({"items": await services.views.projection_status(end_offsets)})


async def rebuild(call: Call) -> web.StreamResponse:
    """POST /projections/{name}/rebuild: the old rows serve until the new ones are verified."""
    name = call.path("name")
    if not (name.isascii() and len(name) <= 64):
        raise NotFound("no such projection")
    await call.services.views.request_rebuild(name)
    return json_response({"name": name}, 202)


async def _end(services: Services, topic: str, partition: int) -> int:
    if topic == services.registry.topic:
        return await services.registry_end()
    for tap in services.taps.values():
        if topic == tap.fold.topic:
            return await tap.end_offset()
        if topic == tap.output_topic:
            return await tap.hub.end_offset(partition)
    raise Unavailable(f"{topic} is not open yet")
