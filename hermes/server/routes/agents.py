"""Agents and their GPUs: what the pools' folds know, with life from the heartbeats."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from hermes.domain.pool import AgentState
from hermes.domain.resources import Gpu
from hermes.domain.times import timestamp
from hermes.errors import FieldProblem
from hermes.server.call import Call, json_response
from hermes.server.json_body import refuse
from hermes.server.pool_tap import PoolTap


async def list_agents(call: Call) -> web.StreamResponse:
    """GET /agents, the newest first."""
    agents = [
        (agent.joined_at_ms, _agent(call, tap, agent))
        for tap in _taps(call)
        for agent in tap.fold.state.agents.values()
    ]
    agents.sort(key=lambda pair: (-pair[0], pair[1]["id"]))
    return _page(call, [shape for _, shape in agents])


async def list_gpus(call: Call) -> web.StreamResponse:
    """GET /gpus."""
    gpus = [
        _gpu(call, tap, agent, gpu)
        for tap in _taps(call)
        for agent in tap.fold.state.agents.values()
        if agent.state != "left"
        for gpu in agent.inventory.gpus
    ]
    gpus.sort(key=lambda shape: (shape["agent"], shape["uuid"]))
    return _page(call, gpus)


def _taps(call: Call) -> list[PoolTap]:
    wanted = call.query("pool")
    taps = call.services.taps
    if wanted is None:
        return list(taps.values())
    if wanted not in taps:
        refuse(FieldProblem("pool", f"{wanted!r} does not exist"))
    return [taps[wanted]]


def _page(call: Call, items: list[dict[str, Any]]) -> web.Response:
    limit, cursor = call.page()
    first = call.services.offsets.read(cursor) if cursor else 0
    shown = items[first : first + limit]
    more = first + limit < len(items)
    following = call.services.offsets.write(first + limit) if more else None
    return json_response({"items": shown, "next_cursor": following})


def _agent(call: Call, tap: PoolTap, agent: AgentState) -> dict[str, Any]:
    inventory, liveness = agent.inventory, tap.liveness
    running = [
        state.id
        for state in tap.fold.state.live.values()
        if state.owner_id == call.user.id
        and state.current is not None
        and (state.current.agent, state.current.incarnation) == (agent.agent, agent.incarnation)
    ]
    alive = liveness.state(agent.agent, agent.incarnation)
    return {
        "id": agent.agent,
        "pool": tap.pool,
        "state": "left" if agent.state == "left" else alive,
        "sandbox": inventory.sandbox,
        "slots": inventory.slots,
        # Other users' executions are theirs alone to see.
        "running": running,
        "cpus": inventory.cpus,
        "memory": inventory.memory,
        "gpus": [_gpu(call, tap, agent, gpu) for gpu in inventory.gpus],
        "version": inventory.version,
        "joined_at": timestamp(datetime.fromtimestamp(agent.joined_at_ms / 1000, UTC)),
        "seen_at": timestamp(liveness.seen_at(agent.agent)),
    }


def _gpu(call: Call, tap: PoolTap, agent: AgentState, gpu: Gpu) -> dict[str, Any]:
    hold, drain = tap.fold.state.gpus.get(gpu.uuid), tap.fold.state.drained.get(gpu.uuid)
    stopping = tap.liveness.state(agent.agent, agent.incarnation) == "draining"
    reason = drain.reason if drain else "its agent is stopping" if stopping else None
    state = tap.fold.state.live.get(hold.execution_id) if hold else None
    own = state is not None and state.owner_id == call.user.id
    return {
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory": gpu.memory,
        "compute_capability": gpu.compute_capability,
        "driver": gpu.driver,
        "mig": gpu.mig,
        "parent": gpu.parent,
        "state": "leased" if hold else "drained" if drain or stopping else "free",
        # Also of one that is leased still: nothing else will run on it.
        "reason": reason,
        "execution": hold.execution_id if hold and own else None,
        "agent": agent.agent,
    }
