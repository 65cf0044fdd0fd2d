"""Asking for an execution: once, whatever is retried, and with its tail in one round trip."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack

import msgspec
from aiohttp import web

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.shapes import execution_shape
from hermes.errors import AlreadyExists, FieldProblem
from hermes.server.accounts.idempotency import Answer, checked_key
from hermes.server.call import Call, json_response
from hermes.server.json_body import read_body, refuse
from hermes.server.lookup import find_execution, function_to_run
from hermes.server.pool_tap import PoolTap
from hermes.server.run_requests import RunRequest, parse_run_request, requested_data
from hermes.server.submit import (
    Submitted,
    append_fresh,
    append_input,
    append_with_given_id,
    is_same_request,
    refuse_more_live,
    resolve_input,
)
from hermes.server.tails.show import show_tail
from hermes.server.tails.sse import Beginning, stream_tail
from hermes.server.tails.tail import Tail

ROUTE = "POST /v1/executions"
# A text of the longest inline input may be written in escapes of six bytes each.
_BODY_FACTOR = 6
_BODY_EXTRA = 64 * 1024
# Longer ones wait until this user's others are read and appended: they stand in memory.
_LARGE_BODY = 64 * 1024


async def create(call: Call) -> web.StreamResponse:
    """POST /executions: 202 with the execution, or at once its tail."""
    async with AsyncExitStack() as turn:
        body = await _body(call, turn)
        request = parse_run_request(body, call.services.settings)
        digest = hashlib.sha256(body).digest()
        del body  # the answer may be a tail that lasts for hours
        key = call.request.headers.get("Idempotency-Key")
        if key is None:
            wanted, given_id = request.id or new_id(), request.id is not None
            return await _run(call, request, wanted, given_id=given_id, turn=turn)
        key, user_id, keys = checked_key(key), call.user.id, call.services.idempotency
        await turn.enter_async_context(keys.one_at_a_time(user_id, ROUTE, key))
        known, answer = await keys.first_answer(user_id, ROUTE, key, digest)
        if known is not None and answer is not None:
            await turn.aclose()
            return await _first_answer(call, known, answer)
        if known is not None and request.id is None:
            accepted = await _accepted_before(call, known, key, turn)
            if accepted is not None:
                return accepted
        wanted = known or request.id or new_id()
        return await _run(call, request, wanted, given_id=True, key=(key, digest), turn=turn)


async def _body(call: Call, turn: AsyncExitStack) -> bytes:
    most = call.services.settings.max_inline_input * _BODY_FACTOR + _BODY_EXTRA
    length = call.request.content_length
    if length is None or length > _LARGE_BODY:
        await turn.enter_async_context(call.services.large_bodies.of((call.user.id,)))
    return await read_body(call.request, most)


async def _run(
    call: Call,
    request: RunRequest,
    execution_id: str,
    *,
    given_id: bool,
    key: tuple[str, bytes] | None = None,
    turn: AsyncExitStack,
) -> web.StreamResponse:
    services, user = call.services, call.user
    tap = services.taps.get(request.pool)
    if tap is None:
        refuse(FieldProblem("pool", f"{request.pool!r} does not exist"))
    refuse_more_live(tap, user)
    function = await function_to_run(services, user, request.ref)
    given = await resolve_input(services, user, request)
    data = requested_data(
        request,
        function,
        user,
        execution_id=execution_id,
        given=given,
        # Who watches has seen the output of the first attempt: a second one would repeat it.
        retries=0 if wants_stream(call) else services.settings.attempts - 1,
        settings=services.settings,
    )
    if key is not None:
        first = await services.idempotency.claim(user.id, ROUTE, *key, execution_id)
        if first != execution_id:
            data = msgspec.structs.replace(data, execution_id=first)
    fresh = not given_id  # an id of our own is nobody else's
    with Tail(data.execution_id, tap, closing=services.closing, fresh=fresh) as tail:
        submitted = await _submit(call, tap, data, request.input, given_id=given_id)
        request.input = b""
        name = key[0] if key else None
        return await _accepted(call, tap, tail, submitted, key=name, turn=turn)


async def _accepted_before(
    call: Call, execution_id: str, key: str, turn: AsyncExitStack
) -> web.StreamResponse | None:
    """The answer, if an earlier request of this key was accepted without getting one. The key's
    row vouches for that; the function may have changed since."""
    services = call.services
    await asyncio.gather(*(tap.catch_up() for tap in services.taps.values()))
    for tap in services.taps.values():
        entry = tap.journal.get(execution_id)
        if entry is not None and entry.state.owner_id == call.user.id:
            submitted = Submitted(entry.state, entry.state.requested)
            with Tail(execution_id, tap, closing=services.closing) as tail:
                return await _accepted(call, tap, tail, submitted, key=key, turn=turn)
    return None


async def _accepted(
    call: Call,
    tap: PoolTap,
    tail: Tail,
    submitted: Submitted,
    *,
    key: str | None,
    turn: AsyncExitStack,
) -> web.StreamResponse:
    execution = execution_shape(submitted.state)
    headers = call.wrote(submitted.position)
    headers["Location"] = f"/v1/executions/{execution.id}"
    if key is not None:
        answer = Answer(202, msgspec.Raw(msgspec.json.encode(execution)), headers)
        await call.services.idempotency.answered(call.user.id, ROUTE, key, answer)
    await turn.aclose()
    if not wants_stream(call):
        return json_response(execution, 202, headers)
    return await stream_tail(
        call,
        tail,
        execution.id,
        pool_topic=tap.fold.topic,
        beginning=Beginning(),
        headers=headers,
    )


async def _submit(
    call: Call, tap: PoolTap, data: ev.ExecutionRequested, inline: bytes, *, given_id: bool
) -> Submitted:
    services, actor = call.services, call.user.actor
    if given_id:
        known = await _known(call, data)
        if known is not None:
            return known
    given = await append_input(services, tap, data.execution_id, data.input, inline)
    data = msgspec.structs.replace(data, input=given)
    if not given_id:
        return await append_fresh(services, tap, data, actor)
    try:
        return await append_with_given_id(services, tap, data, actor)
    except AlreadyExists:
        known = await _known(call, data)
        if known is None:
            raise
        return known


async def _known(call: Call, data: ev.ExecutionRequested) -> Submitted | None:
    """The execution that has this id, if it is the same request. Raises AlreadyExists if not."""
    for tap in call.services.taps.values():
        entry = tap.journal.get(data.execution_id)
        if entry is None:
            if data.execution_id in tap.fold.state.ended:
                raise AlreadyExists(f"the id {data.execution_id} is in use")
            continue
        if not is_same_request(entry.state, data):
            raise AlreadyExists(f"the id {data.execution_id} is in use for another request")
        return Submitted(entry.state, entry.state.requested)
    return None


async def _first_answer(call: Call, execution_id: str, answer: Answer) -> web.StreamResponse:
    if not wants_stream(call):
        return json_response(bytes(answer.body), answer.status, answer.headers)
    found = await find_execution(call, wanted=execution_id)
    return await show_tail(call, found, Beginning(), answer.headers)


def wants_stream(call: Call) -> bool:
    """Whether the client asks for the tail instead of the execution."""
    return "text/event-stream" in call.request.headers.get("Accept", "")
