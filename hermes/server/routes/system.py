"""What operators and their tools read: health, metrics, the API's description. No token needed."""

from __future__ import annotations

import asyncio

import asyncpg
from aiohttp import web

from hermes.domain.pool import PoolState
from hermes.domain.registry import RegistryState
from hermes.errors import LogUnavailable
from hermes.server.call import Call, json_response
from hermes.server.metrics import CONTENT_TYPE

_PROBE = 2.0


async def live(call: Call) -> web.StreamResponse:
    """GET /livez: the process answers."""
    return json_response({"status": "ok"})


async def ready(call: Call) -> web.StreamResponse:
    """GET /readyz: the log, the database and the readers of the log serve."""
    services = call.services
    status = "ok"
    try:
        async with asyncio.timeout(_PROBE):
            await services.database.fetchval("SELECT 1")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        status = "the database does not answer"
    try:
        async with asyncio.timeout(_PROBE):
            await services.registry_end()
    except (LogUnavailable, TimeoutError):
        status = "the log does not answer"
    if services.closing.is_set():
        status = "closing"
    return json_response({"status": status}, 200 if status == "ok" else 503)


async def metrics(call: Call) -> web.StreamResponse:
    """GET /metrics."""
    shown = call.services.metrics
    registry = call.services.registry
    folds: list[tuple[str, RegistryState | PoolState]] = [(registry.topic, registry.state)]
    for tap in call.services.taps.values():
        shown.live.labels(tap.pool).set(len(tap.fold.state.live))
        folds.append((tap.fold.topic, tap.fold.state))
    for topic, state in folds:
        shown.superseded.labels(topic).set(state.superseded)
        shown.malformed.labels(topic).set(state.malformed)
        shown.offset.labels(topic).set(state.next_offset)
    return web.Response(body=shown.text(), headers={"Content-Type": CONTENT_TYPE})


async def openapi(call: Call) -> web.StreamResponse:
    """GET /v1/openapi.json."""
    return json_response(call.services.openapi)
