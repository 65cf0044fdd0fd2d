"""Functions: registering, looking at, and deleting them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec
from aiohttp import web

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.registry import FunctionState
from hermes.domain.resources import Position
from hermes.domain.shapes import function_shape
from hermes.errors import AlreadyExists, FieldProblem, Forbidden, InvalidRequest, NotFound
from hermes.packages.config import FunctionConfig, config_as_json
from hermes.packages.errors import ConfigError
from hermes.packages.limits import check_limits
from hermes.packages.reference import NAME, OWNER, VERSION, version_key
from hermes.packages.unpack_process import validate_in_subprocess
from hermes.server.accounts.idempotency import Answer, checked_key
from hermes.server.call import Call, json_response
from hermes.server.lookup import may_see
from hermes.server.submit import refuse_more_live
from hermes.server.uploads import Upload, received, require_content_type
from hermes.settings import Settings
from streams.log import new_event

ROUTE = "POST /v1/functions"
CONTENT_TYPES = ("application/gzip", "application/x-gzip")
STATUSES = ("registered", "built", "build_failed", "deleted")


async def register(call: Call) -> web.StreamResponse:
    """POST /functions: the source is checked, kept and registered; a build follows."""
    services, user = call.services, call.user
    require_content_type(call.request, *CONTENT_TYPES)
    refuse_more_live(services.taps[services.settings.pool], user)
    header = call.request.headers.get("Idempotency-Key")
    key = None if header is None else checked_key(header)
    async with (
        received(call, services.settings.max_source) as upload,
        AsyncExitStack() as turn,
    ):
        if key is None:
            return _accepted(call, await _register(call, upload, new_id()))
        keys, digest = services.idempotency, bytes.fromhex(upload.sha256)
        await turn.enter_async_context(keys.one_at_a_time(user.id, ROUTE, key))
        known, answer = await keys.first_answer(user.id, ROUTE, key, digest)
        if answer is not None:
            return json_response(bytes(answer.body), answer.status, answer.headers)
        event_id = await keys.claim(user.id, ROUTE, key, digest, known or new_id())
        function = await _register(call, upload, event_id)
        body = msgspec.Raw(msgspec.json.encode(function_shape(function)))
        await keys.answered(user.id, ROUTE, key, Answer(202, body, _headers(call, function)))
        return _accepted(call, function)


async def _register(call: Call, upload: Upload, event_id: str) -> FunctionState:
    services, user = call.services, call.user
    config = await checked_source(upload, services.settings)
    key = f"{user.username}/{config.function_name}"
    known = services.registry.state.functions.get(key, {}).get(config.function_version)
    if known is not None and known.registered_event == event_id:
        return known
    if known is not None and known.status in ("registered", "built"):
        raise _exists(known)
    await services.blobs.put_file(upload.path, upload.sha256)
    event = new_event(
        ev.FunctionRegistered(
            owner=user.username,
            owner_id=user.id,
            name=config.function_name,
            version=config.function_version,
            config=config_as_json(config),
            source_sha256=upload.sha256,
        ),
        user.actor,
        event_id=event_id,
        correlation_id=event_id,
    )
    _, applied = await services.registry.append(services.writer, key, event)
    function = applied.function
    if function is None or function.registered_event != event_id:
        raise _exists(function)
    return function


def _accepted(call: Call, function: FunctionState) -> web.Response:
    return json_response(function_shape(function), 202, _headers(call, function))


def _headers(call: Call, function: FunctionState) -> dict[str, str]:
    path = f"{function.owner}/{function.name}/{function.version}"
    return {**call.wrote(function.registered), "Location": f"/v1/functions/{path}"}


def _exists(function: FunctionState | None) -> AlreadyExists:
    name = function.ref if function else "this version"
    return AlreadyExists(
        f"{name} is registered already: raise functionVersion in hermes.config.json",
        (FieldProblem("functionVersion", "is registered already"),),
    )


async def checked_source(upload: Upload, settings: Settings) -> FunctionConfig:
    """The config in an uploaded source. Raises InvalidArchive, InvalidConfig."""
    package = await validate_in_subprocess(upload.path)
    problems = check_limits(package.config, settings.max_limits)
    if problems:
        raise ConfigError(problems)
    return package.config


async def list_all(call: Call) -> web.StreamResponse:
    """GET /functions."""
    limit, cursor = call.page()
    owner, name, status = call.query("owner"), call.query("name"), call.query("status")
    if status is not None and status not in STATUSES:
        raise InvalidRequest(f"status must be one of {', '.join(STATUSES)}")
    await call.wait_for_own_writes()
    page = await call.services.views.list_functions(
        call.user.id, owner=owner, name=name, status=status, limit=limit, cursor=cursor
    )
    return json_response(page)


async def versions(call: Call) -> web.StreamResponse:
    """GET /functions/{owner}/{name}: its versions."""
    owner, name = _names(call)
    limit, cursor = call.page()
    await call.wait_for_own_writes()
    page = await call.services.views.list_functions(
        call.user.id, owner=owner, name=name, limit=limit, cursor=cursor
    )
    if not page.items and cursor is None:
        raise NotFound(f"no function {owner}/{name}")
    return json_response(page)


async def get(call: Call) -> web.StreamResponse:
    """GET /functions/{owner}/{name}/{version}."""
    owner, name = _names(call)
    version = _version(call)
    await call.wait_for_own_writes()
    body = await call.services.views.get_function(call.user.id, owner, name, version)
    return json_response(body)


async def delete(call: Call) -> web.StreamResponse:
    """DELETE one version, or all of a name's; what ran stays in the history."""
    services, user = call.services, call.user
    owner, name = _names(call)
    version = _version(call) if "version" in call.request.match_info else None
    wanted = [
        state
        for state in services.registry.state.functions.get(f"{owner}/{name}", {}).values()
        if state.status != "deleted" and version in (None, state.version) and may_see(user, state)
    ]
    if not wanted:
        raise NotFound(f"no function {owner}/{name}" + (f":{version}" if version else ""))
    if any(state.owner_id != user.id for state in wanted):
        raise Forbidden(f"{owner}/{name} belongs to {owner}")
    wanted.sort(key=lambda state: version_key(state.version), reverse=True)
    results = await asyncio.gather(
        *(
            services.registry.append(
                services.writer,
                f"{owner}/{name}",
                new_event(ev.FunctionDeleted(version=state.version), user.actor),
            )
            for state in wanted
        )
    )
    last = max(offset for offset, _ in results)
    headers = call.wrote(Position(services.registry.topic, 0, last))
    items = [
        function_shape(applied.function or state)
        for state, (_, applied) in zip(wanted, results, strict=True)
    ]
    return json_response({"items": items}, 200, headers)


def _names(call: Call) -> tuple[str, str]:
    owner, name = call.path("owner"), call.path("name")
    if not OWNER.match(owner) or not NAME.match(name):
        raise NotFound("no such function")
    return owner, name


def _version(call: Call) -> str:
    version = call.path("version")
    if not VERSION.match(version):
        raise NotFound("no such version")
    return version
