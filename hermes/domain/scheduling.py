"""Who runs what, decided purely: first come, first served, over slots, memory and GPUs.

The scheduler gives the fold, which agents are alive, and its own decisions that the fold has not
seen yet; it gets decisions back. Nothing here reads a clock or the log.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec

from hermes.domain import events as ev
from hermes.domain.execution import AttemptState, ExecutionState
from hermes.domain.pool import AgentState, PoolState
from hermes.domain.resources import Gpu, GpuRequest

MAX_ATTEMPTS = 10
"""Also attempts that never started end somewhere."""
_AGENTS_BUSY = "every agent is busy"
_GPUS_BUSY = "every fitting GPU is busy"
_GPUS_DRAINED = "every fitting GPU is out of service"
_BUSY = frozenset({_AGENTS_BUSY, _GPUS_BUSY, _GPUS_DRAINED})


class Place(msgspec.Struct, frozen=True):
    """Hand the execution's next attempt to this agent, with these GPUs."""

    execution: ExecutionState
    agent: AgentState
    gpus: tuple[str, ...]


class Wait(msgspec.Struct, frozen=True):
    """It waits, and this is why."""

    execution: ExecutionState
    reason: str


class Reject(msgspec.Struct, frozen=True):
    """No agent of this pool could ever run it."""

    execution: ExecutionState
    reason: str


class End(msgspec.Struct, frozen=True):
    """Nothing is left to run: it was cancelled in time, or its attempts are used up."""

    execution: ExecutionState
    outcome: str
    reason: str


Decision = Place | Wait | Reject | End


class _Free:
    """What an agent has left while one plan is made."""

    def __init__(self, agent: AgentState) -> None:
        self.agent = agent
        self.slots = agent.inventory.slots
        self.memory = agent.inventory.memory
        self.gpus = {gpu.uuid: gpu for gpu in agent.inventory.gpus}

    def take(self, execution: ExecutionState) -> None:
        self.slots -= 1
        self.memory -= execution.limits.memory


def plan(state: PoolState, alive: set[str], pending: Mapping[str, Place | None]) -> list[Decision]:
    """Decisions for everything that waits.

    `alive` names the agents whose heartbeat is fresh; `pending` has the decisions already appended
    but not folded, by execution id (None for those that place nothing).
    """
    waiting = [
        execution
        for execution in state.live.values()
        if execution.status in ("requested", "queued") and execution.id not in pending
    ]
    if not waiting:
        return []
    free = _capacity(state, alive, pending)
    waiting.sort(key=lambda execution: execution.requested.offset)
    return [
        decision
        for execution in waiting
        if (decision := _decide(execution, state, free)) is not None
    ]


def _capacity(
    state: PoolState, alive: set[str], pending: Mapping[str, Place | None]
) -> list[_Free]:
    free = {
        name: _Free(agent)
        for name, agent in state.agents.items()
        if agent.state == "online" and name in alive
    }
    for execution in state.live.values():
        current = execution.current
        if current is not None and current.agent in free:
            free[current.agent].take(execution)
    _occupy(free.values(), state.gpus)
    _occupy(free.values(), state.drained)
    for place in pending.values():
        if place is not None:
            _occupy(free.values(), place.gpus)
            if place.agent.agent in free:
                free[place.agent.agent].take(place.execution)
    return list(free.values())


def _occupy(agents: Iterable[_Free], gpus: Iterable[str]) -> None:
    # Of all of them: two agents of one host offer the same GPUs.
    for uuid in gpus:
        for agent in agents:
            agent.gpus.pop(uuid, None)


def _decide(execution: ExecutionState, state: PoolState, free: list[_Free]) -> Decision | None:
    if execution.cancel_requested_at is not None:
        return End(execution, "cancelled", "cancelled before it ran")
    if execution.reason in _BUSY and free and not any(agent.slots > 0 for agent in free):
        return None  # nothing has changed for it; thousands may wait
    spent = _spent(execution)
    if spent is not None:
        return End(execution, "lost", spent)
    # The least loaded agent first, so that work spreads; last the one that handed it back.
    shunned = _handed_back_by(execution)
    for agent in sorted(free, key=lambda one: (one.agent.agent == shunned, -one.slots)):
        gpus = _fitting_gpus(execution.gpu, agent.gpus.values())
        if agent.slots > 0 and agent.memory >= execution.limits.memory and gpus is not None:
            agent.take(execution)
            _occupy(free, gpus)
            return Place(execution, agent.agent, gpus)
    return _why_not(execution, state, bool(free))


def _spent(execution: ExecutionState) -> str | None:
    lost = [attempt for attempt in execution.attempts if attempt.status == "lost"]
    started = [
        attempt for attempt in lost if attempt.started_at is not None and not _was_returned(attempt)
    ]
    if len(started) > execution.retries or len(lost) >= MAX_ATTEMPTS:
        return f"attempt {lost[-1].attempt} was lost: {lost[-1].reason}"
    return None


def _was_returned(attempt: AttemptState) -> bool:
    """Whether its own agent gave it back, as it does only before the program starts: `started` may
    have been told beforehand, with the claim."""
    reason = attempt.reason or ""
    return reason == ev.GPU_UNAVAILABLE or reason.startswith(ev.HOST_FAULT)


def _handed_back_by(execution: ExecutionState) -> str | None:
    """The agent that could not start the last attempt: another may well."""
    last = execution.attempts[-1] if execution.attempts else None
    return last.agent if last is not None and last.started_at is None else None


def _why_not(execution: ExecutionState, state: PoolState, some_alive: bool) -> Decision | None:
    known = [agent for agent in state.agents.values() if agent.state == "online"]
    if not known or not some_alive:
        reason = f"no agent is online in pool {state.pool}"
    elif not any(_could_ever(execution, agent) for agent in known):
        reason = _never(execution, state.pool)
        # One that has left may come back: it is being restarted, or its host is.
        if not execution.attempts and not any(
            _could_ever(execution, agent) for agent in state.agents.values()
        ):
            return Reject(execution, reason)
    elif execution.gpu is not None:
        in_service = any(_could_ever(execution, agent, state.drained) for agent in known)
        reason = _GPUS_BUSY if in_service else _GPUS_DRAINED
    else:
        reason = _AGENTS_BUSY
    if execution.status == "queued" and execution.reason == reason:
        return None
    if execution.attempts and execution.status == "queued":
        return None  # its reason is the lost attempt, which says more
    return Wait(execution, reason)


def _could_ever(execution: ExecutionState, agent: AgentState, without: Container[str] = ()) -> bool:
    gpus = [gpu for gpu in agent.inventory.gpus if gpu.uuid not in without]
    return (
        agent.inventory.memory >= execution.limits.memory
        and _fitting_gpus(execution.gpu, gpus) is not None
    )


def _never(execution: ExecutionState, pool: str) -> str:
    if execution.gpu is None:
        return f"no agent of pool {pool} has {execution.limits.memory} bytes of memory"
    wanted = execution.gpu
    details = [f"{wanted.count} GPU" + ("s" if wanted.count > 1 else "")]
    if wanted.name:
        details.append(f"named {wanted.name}")
    if wanted.memory:
        details.append(f"with at least {wanted.memory} bytes of memory")
    if wanted.compute_capability:
        details.append(f"of compute capability {wanted.compute_capability} or more")
    return f"no agent of pool {pool} has {', '.join(details)}"


def _fitting_gpus(request: GpuRequest | None, gpus: Iterable[Gpu]) -> tuple[str, ...] | None:
    """UUIDs of as many fitting GPUs as asked for, smallest memory first; None if too few fit."""
    if request is None:
        return ()
    fitting = sorted(
        (gpu for gpu in gpus if gpu_fits(gpu, request)), key=lambda gpu: (gpu.memory, gpu.uuid)
    )
    if len(fitting) < request.count:
        return None
    return tuple(gpu.uuid for gpu in fitting[: request.count])


def gpu_fits(gpu: Gpu, request: GpuRequest) -> bool:
    """Whether the GPU has what the request asks for at least."""
    return (
        gpu.memory >= (request.memory or 0)
        and fnmatchcase(gpu.name.lower(), (request.name or "*").lower())
        and _capability(gpu.compute_capability) >= _capability(request.compute_capability or "0.0")
    )


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return _number(major), _number(minor)


def _number(text: str) -> int:
    # Python refuses to read a number of thousands of digits.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
