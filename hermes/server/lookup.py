"""Finds executions and functions within what the asking user may see."""

from __future__ import annotations

import asyncio

import msgspec

from hermes.domain.execution import ExecutionState
from hermes.domain.ids import is_id, is_id_prefix
from hermes.domain.registry import FunctionState, RegistryState
from hermes.domain.shapes import Event, execution_shape
from hermes.errors import AmbiguousId, NotBuilt, NotFound, Unavailable
from hermes.packages.reference import FunctionRef, version_key
from hermes.server.accounts.store import Account
from hermes.server.call import Call
from hermes.server.pool_tap import PoolTap
from hermes.server.services import Services

_BUILDER_PATIENCE = 5.0
_FOLD_PATIENCE = 1.0
_EVENTS_PAGE = 200
_TERMINAL = ("execution.finished", "execution.rejected")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An execution of the asking user: its state if it is in memory, else its JSON."""

    id: str
    tap: PoolTap
    state: ExecutionState | None
    body: bytes


async def find_execution(call: Call, kind: str | None = None, wanted: str = "") -> Found:
    """The execution `wanted`, else of the path's `id`: a full one or a unique prefix.

    Raises NotFound also for what belongs to others, AmbiguousId for several of one's own.
    """
    services, user = call.services, call.user
    wanted = wanted or call.path("id").lower()
    if not is_id_prefix(wanted):
        raise _no_execution(wanted)
    found = _in_memory(services, user, wanted)
    if found is None:
        await _read_back_own_writes(services, user)
        found = _in_memory(services, user, wanted)
    if found is None:
        row = await services.views.get_execution_row(user.id, wanted)
        tap = services.taps.get(row.pool)
        if tap is None:
            raise Unavailable(f"the pool {row.pool} is not open yet")
        found = Found(id=row.id, tap=tap, state=None, body=row.body)
        if kind is not None and row.kind != kind:
            raise _no_execution(wanted)
    elif not is_id(wanted):
        # An older one, not in memory, may start so too.
        await _refuse_second(services, user, wanted, found.id)
    if kind is not None and found.state is not None and found.state.kind != kind:
        raise _no_execution(wanted)
    return found


async def find_build(call: Call) -> Found:
    """The build of the path's `id`; one that the builder has not requested yet is waited for."""
    services, build_id = call.services, call.path("id").lower()
    deadline = asyncio.get_running_loop().time() + _BUILDER_PATIENCE
    while services.build_owners.get(build_id) == call.user.id:
        if _in_memory(services, call.user, build_id) is not None:
            break
        try:
            return await find_execution(call, "build")
        except NotFound:
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("the build waits for the builder") from None
        await asyncio.sleep(0.02)
    return await find_execution(call, "build")


async def past_events(call: Call, found: Found) -> list[Event] | None:
    """All events of an execution that ended too long ago for the journal; None for others.

    Raises Unavailable if the views do not show its end, on which a tail would wait for ever.
    """
    if found.tap.journal.get(found.id) is not None:
        return None
    events: list[Event] = []
    cursor = None
    while True:
        page = await call.services.views.list_events(
            call.user.id, found.id, limit=_EVENTS_PAGE, cursor=cursor
        )
        events += [msgspec.json.decode(item, type=Event) for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    if any(not event.superseded and event.kind in _TERMINAL for event in events):
        return events
    # The views were ahead of our fold, which has it by now; or they are far behind.
    await found.tap.catch_up()
    if found.tap.journal.get(found.id) is not None:
        return None
    raise Unavailable(f"the end of execution {found.id} is not in the views yet")


async def function_to_run(services: Services, user: Account, ref: FunctionRef) -> FunctionState:
    """The version to run: the one named, else the highest built. Raises NotFound, NotBuilt."""
    try:
        return _resolve(services.registry.state, user, ref)
    except (NotFound, NotBuilt):
        # The user may have seen it built in a view that is ahead of this process.
        await services.catch_up_registry()
        return _resolve(services.registry.state, user, ref)


def _resolve(registry: RegistryState, user: Account, ref: FunctionRef) -> FunctionState:
    versions = [
        state
        for state in registry.functions.get(f"{ref.owner}/{ref.name}", {}).values()
        if state.status != "deleted" and may_see(user, state)
    ]
    if ref.version is not None:
        versions = [state for state in versions if state.version == ref.version]
    if not versions:
        raise NotFound(f"no function {ref}")
    built = [state for state in versions if state.status == "built"]
    if not built:
        status = max(versions, key=lambda state: version_key(state.version)).status
        raise NotBuilt(f"{ref} has no successful build: it is {status}")
    return max(built, key=lambda state: version_key(state.version))


def may_see(user: Account, function: FunctionState) -> bool:
    """Public ones are everybody's to see and run."""
    return function.owner_id == user.id or function.config.get("scope") == "public"


def _in_memory(services: Services, user: Account, wanted: str) -> Found | None:
    found: list[Found] = []
    for tap in services.taps.values():
        if is_id(wanted):
            entry = tap.journal.get(wanted)
            entries = [entry] if entry is not None else []
        else:
            entries = tap.journal.starting_with(wanted)
        found += [
            Found(
                id=entry.state.id,
                tap=tap,
                state=entry.state,
                body=msgspec.json.encode(execution_shape(entry.state)),
            )
            for entry in entries
            if entry.state.owner_id == user.id
        ]
    if len(found) > 1:
        raise AmbiguousId(f"{len(found)} of your executions have an id that starts with {wanted}")
    return found[0] if found else None


async def _read_back_own_writes(services: Services, user: Account) -> None:
    """What was accepted a moment ago stands in the log, but may not have been read from it yet."""
    for position in services.sessions.of(user.id):
        for tap in services.taps.values():
            if tap.fold.topic == position.topic:
                await tap.fold.reached(position.offset, timeout=_FOLD_PATIENCE)


async def _refuse_second(services: Services, user: Account, prefix: str, known: str) -> None:
    try:
        row = await services.views.get_execution_row(user.id, prefix)
    except NotFound:
        return
    if row.id != known:
        raise AmbiguousId(f"more than one of your executions has an id that starts with {prefix}")


def _no_execution(wanted: str) -> NotFound:
    return NotFound(f"no execution {wanted[:40]}")
