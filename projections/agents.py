"""The shape of an agent and its GPUs, as far as the log knows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from hermes.domain import events as ev
from hermes.domain.pool import AgentState, Applied, PoolState
from hermes.domain.times import timestamp
from projections.rows import AgentRow, clean, short

_encode = msgspec.json.Encoder().encode


class GpuShape(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU; `state` is free, leased or drained, `execution` the one that holds it, `reason` why
    it is out of service or will be once its lease ends."""

    uuid: str
    name: str
    memory: int
    compute_capability: str
    driver: str
    mig: str | None
    parent: str | None
    state: str
    reason: str | None
    execution: str | None
    agent: str


class AgentShape(msgspec.Struct, frozen=True, kw_only=True):
    """An agent. `running` and `seen_at` are for heartbeats to fill in; `state`: online or left."""

    id: str
    pool: str
    state: str
    sandbox: str
    slots: int
    running: list[str]
    cpus: float
    memory: int
    gpus: list[GpuShape]
    version: str
    joined_at: str
    seen_at: str | None


class AgentRows:
    """The rows of a pool's agents, and which of them were given out before."""

    def __init__(self) -> None:
        self._known: dict[str, AgentRow] = {}

    @staticmethod
    def touched_by(record: ev.Recorded, verdict: Applied) -> bool:
        """Whether a record may have changed an agent, or who holds one of its GPUs."""
        if verdict.superseded or isinstance(record.event, ev.Malformed):
            return False
        match record.event.data:
            case ev.AgentJoined() | ev.AgentLeft() | ev.ExecutionGpuReleased():
                return True
            case ev.AgentGpuDrained() | ev.AgentGpuRestored():
                return True
            case ev.ExecutionScheduled(gpus=gpus):
                return bool(gpus)
            # A lost one of an agent that has joined anew meanwhile gives them back, too.
            case ev.ExecutionFinished() | ev.ExecutionAttemptLost():
                attempts = verdict.execution.attempts if verdict.execution else ()
                return bool(attempts and attempts[-1].gpus)
        return False

    def changed(self, state: PoolState) -> Iterator[AgentRow]:
        """The rows that differ from the ones given out before."""
        for agent in state.agents.values():
            row = _row(state, agent)
            if self._known.get(agent.agent) != row:
                self._known[agent.agent] = row
                yield row


def _row(state: PoolState, agent: AgentState) -> AgentRow:
    joined_at = datetime.fromtimestamp(agent.joined_at_ms / 1000, UTC)
    return AgentRow(
        topic=state.topic,
        id=short(agent.agent),
        pool=short(state.pool),
        incarnation=short(agent.incarnation),
        state=agent.state,
        reason=None if agent.reason is None else clean(agent.reason),
        joined_at=joined_at,
        joined_offset=agent.joined_offset,
        body=_encode(_shape(state, agent, joined_at)).decode(),
    )


def _shape(state: PoolState, agent: AgentState, joined_at: datetime) -> AgentShape:
    inventory = agent.inventory
    gpus = []
    for gpu in inventory.gpus:
        hold, drain = state.gpus.get(gpu.uuid), state.drained.get(gpu.uuid)
        gpus.append(
            GpuShape(
                uuid=gpu.uuid,
                name=gpu.name,
                memory=gpu.memory,
                compute_capability=gpu.compute_capability,
                driver=gpu.driver,
                mig=gpu.mig,
                parent=gpu.parent,
                state="leased" if hold else "drained" if drain else "free",
                reason=drain.reason if drain else None,
                execution=hold.execution_id if hold else None,
                agent=agent.agent,
            )
        )
    return AgentShape(
        id=agent.agent,
        pool=state.pool,
        state=agent.state,
        sandbox=inventory.sandbox,
        slots=inventory.slots,
        running=[],
        cpus=inventory.cpus,
        memory=inventory.memory,
        gpus=gpus,
        version=inventory.version,
        joined_at=timestamp(joined_at),
        seen_at=None,
    )
