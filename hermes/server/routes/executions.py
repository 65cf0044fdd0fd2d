"""Executions: asking for one, looking at them, ending one."""

from __future__ import annotations

from datetime import datetime

import msgspec
from aiohttp import web

from hermes.domain import events as ev
from hermes.domain.execution import OUTCOMES
from hermes.domain.resources import Position
from hermes.domain.shapes import execution_shape
from hermes.errors import (
    AlreadyFinished,
    FieldProblem,
    InvalidRequest,
    NotFound,
)
from hermes.packages.reference import FunctionRef
from hermes.server.call import Call, json_response
from hermes.server.lookup import find_execution
from hermes.server.tails.show import show_tail
from hermes.server.tails.sse import beginning_of
from streams.log import new_event

STATUSES = ("requested", "queued", "scheduled", "claimed", "running", "finished", "rejected")


async def get(call: Call) -> web.StreamResponse:
    """GET /executions/{id}."""
    found = await find_execution(call)
    if found.state is not None and found.state.finished_offset is not None:
        # A list asked for next shows the end as well.
        topic = found.tap.fold.topic
        call.services.sessions.saw(call.user.id, Position(topic, 0, found.state.finished_offset))
    return json_response(found.body)


async def list_all(call: Call) -> web.StreamResponse:
    """GET /executions."""
    limit, cursor = call.page()
    statuses = call.request.query.getall("status", [])
    unknown = [s for s in statuses if s not in STATUSES and s not in OUTCOMES]
    if unknown:
        raise InvalidRequest(
            f"status must be one of {', '.join((*STATUSES, *sorted(OUTCOMES)))}",
            (FieldProblem("status", "is no status and no outcome"),),
        )
    kind = call.query("kind") or "run"
    if kind not in ("run", "build"):
        raise InvalidRequest("kind must be run or build")
    function = call.query("function")
    if function is not None:
        FunctionRef.parse(function)
    since, until = _time(call, "since"), _time(call, "until")
    await call.wait_for_own_writes()
    page = await call.services.views.list_executions(
        call.user.id,
        statuses=statuses,
        function=function,
        kind=kind,
        since=since,
        until=until,
        limit=limit,
        cursor=cursor,
    )
    return json_response(page)


async def cancel(call: Call) -> web.StreamResponse:
    """POST /executions/{id}/cancel: asks the execution to end; asking again changes nothing."""
    found = await find_execution(call)
    state = found.state
    if state is None or state.terminal:
        raise AlreadyFinished(f"execution {found.id} has ended")
    if state.cancel_requested_at is not None:
        return json_response(found.body, 202, call.wrote(state.requested))
    event = new_event(
        ev.ExecutionCancelRequested(execution_id=found.id),
        call.user.actor,
        correlation_id=found.id,
    )
    offset, applied = await found.tap.fold.append(call.services.writer, found.id, event)
    entry = found.tap.journal.get(found.id)
    if entry is None:
        raise NotFound(f"no execution {found.id}")
    if applied.superseded and entry.state.terminal:
        raise AlreadyFinished(f"execution {found.id} has ended")
    headers = call.wrote(Position(found.tap.fold.topic, 0, offset))
    return json_response(execution_shape(entry.state), 202, headers)


async def events(call: Call) -> web.StreamResponse:
    """GET /executions/{id}/events: superseded ones too, oldest first."""
    limit, cursor = call.page()
    found = await find_execution(call)
    await call.wait_for_own_writes()
    page = await call.services.views.list_events(call.user.id, found.id, limit=limit, cursor=cursor)
    return json_response(page)


async def tail(call: Call) -> web.StreamResponse:
    """GET /executions/{id}/tail."""
    found = await find_execution(call)
    return await show_tail(call, found, beginning_of(call, found.id))


def _time(call: Call, name: str) -> datetime | None:
    text = call.query(name)
    if text is None:
        return None
    try:
        # A plus sign in a query stands for a space; only an offset can have one here.
        found = msgspec.convert(text.replace(" ", "+"), datetime)
    except msgspec.ValidationError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidRequest(f"{name} must be a time such as 2026-01-31T12:00:00Z")
    return found
