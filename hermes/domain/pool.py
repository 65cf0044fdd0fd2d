"""The fold of one pool's topic: executions, agents, leases, GPUs, and the scheduler's epoch.

Every reader that folds the same records, in the order of the partition, has the same state. The
state is changed in place (a role folds hundreds of events a second), but only through `apply`,
which never raises and reads no clock: the time it knows is the log's.
"""

from __future__ import annotations

import msgspec

from hermes.domain import events as ev
from hermes.domain.execution import (
    AttemptState,
    ExecutionState,
    Misfit,
    begin,
    evolve,
    is_handed_back,
)
from hermes.domain.ids import id_time_ms, is_id
from hermes.domain.resources import Inventory

HOUR_MS = 3_600_000
REQUEST_WINDOW_MS = 24 * HOUR_MS
# An id can be requested until 24 h after its time; remembering its end for twice that is enough,
# and pruning goes by the log's time, so it is the same for every reader.
REMEMBER_MS = 2 * REQUEST_WINDOW_MS
MAX_EPOCH_STEP = 2**20
"""No single record may use up the epochs of all later schedulers."""
RULES = 3
"""The version of this fold's rules; a snapshot of other rules is not used."""


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's present incarnation; `state` is online or left."""

    agent: str
    incarnation: str
    inventory: Inventory
    state: str
    joined_at_ms: int
    joined_offset: int
    reason: str | None = None


class GpuHold(msgspec.Struct, frozen=True):
    """The attempt that holds a GPU exclusively."""

    execution_id: str
    attempt: int
    agent: str
    incarnation: str


class GpuDrain(msgspec.Struct, frozen=True):
    """Why a GPU is out of service, who said so, and when by the log."""

    reason: str
    agent: str
    drained_at_ms: int


class Ended(msgspec.Struct, frozen=True):
    """What is remembered of an ended execution: enough to answer a build's registration."""

    status: str
    outcome: str | None
    exit_code: int | None = None
    reason: str | None = None
    artifact_sha256: str | None = None
    toolchain: str | None = None
    log_time: int = 0


class Applied(msgspec.Struct, frozen=True):
    """What a record did: the execution after it, or why it changed nothing."""

    misfit: str | None
    execution: ExecutionState | None = None

    @property
    def superseded(self) -> bool:
        """Whether the record changed nothing."""
        return self.misfit is not None


class PoolState(msgspec.Struct, kw_only=True):
    """See the module. `ended` has the executions of the last days by id; `began` is the log time
    of the topic's first record, which tells it from a topic of the same name made anew. `drained`
    has the GPUs out of service by UUID: a card is one thing, whichever agent offers it, and no
    restart of an agent heals it."""

    pool: str
    topic: str
    epoch: int = 0
    scheduler: str | None = None
    next_offset: int = 0
    began: int = 0
    log_time: int = 0
    superseded: int = 0
    malformed: int = 0
    live: dict[str, ExecutionState] = msgspec.field(default_factory=dict)
    ended: dict[str, Ended] = msgspec.field(default_factory=dict)
    agents: dict[str, AgentState] = msgspec.field(default_factory=dict)
    gpus: dict[str, GpuHold] = msgspec.field(default_factory=dict)
    drained: dict[str, GpuDrain] = msgspec.field(default_factory=dict)

    def apply(self, record: ev.Recorded) -> Applied:
        """Fold the next record of the partition; the caller skips what is folded already."""
        self.next_offset = record.offset + 1
        self.log_time = max(self.log_time, record.log_time)
        if record.offset == 0:
            self.began = record.log_time
        event = record.event
        if isinstance(event, ev.Malformed):
            self.malformed += 1
            return Applied(f"malformed: {event.reason}")
        applied = self._dispatch(record, event)
        if applied.superseded:
            self.superseded += 1
        return applied

    def _dispatch(self, record: ev.Recorded, event: ev.Event) -> Applied:
        data = event.data
        match data:
            case ev.ExecutionRequested():
                return self._requested(data, record, event)
            case ev.AgentJoined():
                return self._joined(data, record)
            case ev.AgentLeft():
                return self._left(data)
            case ev.AgentGpuDrained() | ev.AgentGpuRestored():
                return self._gpu_service(data, record)
            case ev.SchedulerTookOver():
                return self._took_over(data)
        execution_id = getattr(data, "execution_id", None)
        if execution_id is None:
            return Applied(f"{event.kind} does not belong in a pool's topic")
        if execution_id != record.key:
            return Applied("the record's key is not the execution's id")
        return self._execution(execution_id, data, record, event)

    def _requested(
        self, data: ev.ExecutionRequested, record: ev.Recorded, event: ev.Event
    ) -> Applied:
        execution_id = data.execution_id
        if execution_id != record.key or not is_id(execution_id):
            return Applied("the record's key is not the execution's id, or not a UUIDv7")
        if data.pool != self.pool or data.execution_kind not in ("run", "build"):
            return Applied("another pool's, or of an unknown kind")
        if abs(record.log_time - id_time_ms(execution_id)) > REQUEST_WINDOW_MS:
            return Applied("the id's time is more than 24 hours from the log's")
        known = self.live.get(execution_id)
        if known is not None or execution_id in self.ended:
            return Applied("this id was requested before", known)
        state = begin(data, record, event)
        self.live[execution_id] = state
        return Applied(None, state)

    def _execution(
        self, execution_id: str, data: ev.EventData, record: ev.Recorded, event: ev.Event
    ) -> Applied:
        state = self.live.get(execution_id)
        if state is None:
            if isinstance(data, ev.ExecutionGpuReleased):
                return self._gpu_released(data, None)
            return Applied(
                "the execution has ended" if execution_id in self.ended else "unknown id"
            )
        refusal = self._refuse(data)
        if refusal is not None:
            return Applied(refusal, state)
        if isinstance(data, ev.ExecutionGpuReleased):
            return self._gpu_released(data, state)
        after = evolve(data, state, event, record.offset)
        if isinstance(after, Misfit):
            return Applied(after.reason, state)
        self._keep_gpus(data, after)
        if after.terminal:
            del self.live[execution_id]
            self.ended[execution_id] = Ended(
                after.status,
                after.outcome,
                after.exit_code,
                after.reason,
                after.built_artifact,
                after.toolchain,
                self.log_time,
            )
            self._forget_old()
        else:
            self.live[execution_id] = after
        return Applied(None, after)

    def _refuse(self, data: ev.EventData) -> str | None:
        """What only the whole pool can know against a scheduler's decision."""
        if isinstance(data, ev.ExecutionAttemptLost) and is_handed_back(data):
            return self._refuse_incarnation(str(data.agent), data.incarnation)
        if isinstance(data, ev.ExecutionScheduled | ev.ExecutionAttemptLost):
            if data.epoch != self.epoch:
                return f"epoch {data.epoch} is over, {self.epoch} decides"
        if isinstance(data, ev.ExecutionScheduled):
            refusal = self._refuse_incarnation(data.agent, data.incarnation)
            if refusal is not None:
                return refusal
            if len(set(data.gpus)) < len(data.gpus):
                return "a GPU is named twice"
            offered = self._offered_by(data.agent)
            for uuid in data.gpus:
                if uuid not in offered:
                    return f"agent {data.agent} has no GPU {uuid}"
                if uuid in self.gpus:
                    return f"GPU {uuid} is held by execution {self.gpus[uuid].execution_id}"
                if uuid in self.drained:
                    return f"GPU {uuid} is drained: {self.drained[uuid].reason}"
        return None

    def _refuse_incarnation(self, name: str, incarnation: str | None) -> str | None:
        agent = self.agents.get(name)
        if agent is None or agent.state != "online":
            return f"agent {name} is not online"
        if agent.incarnation != incarnation:
            return f"agent {name} has another incarnation by now"
        return None

    def _offered_by(self, name: str) -> set[str]:
        return {gpu.uuid for gpu in self.agents[name].inventory.gpus}

    def _keep_gpus(self, data: ev.EventData, after: ExecutionState) -> None:
        if isinstance(data, ev.ExecutionScheduled):
            for uuid in data.gpus:
                self.gpus[uuid] = GpuHold(after.id, data.attempt, data.agent, data.incarnation)
        elif after.attempts and self._has_left_its_gpus(after, after.attempts[-1]):
            self._release(after.id, after.attempts[-1].attempt, after.attempts[-1].gpus)

    def _has_left_its_gpus(self, after: ExecutionState, last: AttemptState) -> bool:
        """A lost attempt keeps them until its host says that they are free, as it does by
        joining anew, be it before or after the loss was noticed."""
        if last.status == "lost":
            agent = self.agents.get(last.agent)
            return agent is not None and agent.incarnation != last.incarnation
        return after.terminal

    def _gpu_released(self, data: ev.ExecutionGpuReleased, state: ExecutionState | None) -> Applied:
        current = state.current if state is not None else None
        if current is not None and current.attempt == data.attempt:
            return Applied("the attempt is not lost: its GPUs are its own", state)
        if not self._release(data.execution_id, data.attempt, data.gpus):
            return Applied("no such GPU is held by this attempt", state)
        return Applied(None, state)

    def _release(self, execution_id: str, attempt: int, gpus: tuple[str, ...]) -> bool:
        held = [
            uuid
            for uuid in dict.fromkeys(gpus)
            if (hold := self.gpus.get(uuid))
            and (hold.execution_id, hold.attempt) == (execution_id, attempt)
        ]
        for uuid in held:
            del self.gpus[uuid]
        return bool(held)

    def _joined(self, data: ev.AgentJoined, record: ev.Recorded) -> Applied:
        if data.agent != record.key:
            return Applied("the record's key is not the agent's id")
        known = self.agents.get(data.agent)
        if known is not None and known.incarnation == data.incarnation:
            return Applied("this incarnation joined before")
        self.agents[data.agent] = AgentState(
            agent=data.agent,
            incarnation=data.incarnation,
            inventory=data.inventory,
            state="online",
            joined_at_ms=record.log_time,
            joined_offset=record.offset,
        )
        # It joins with its GPUs free: holds of its lost attempts end here.
        for uuid, hold in list(self.gpus.items()):
            if hold.agent == data.agent and not self._is_active(hold):
                del self.gpus[uuid]
        return Applied(None)

    def _is_active(self, hold: GpuHold) -> bool:
        state = self.live.get(hold.execution_id)
        current = state.current if state is not None else None
        return current is not None and current.attempt == hold.attempt

    def _left(self, data: ev.AgentLeft) -> Applied:
        known = self.agents.get(data.agent)
        if known is None or known.incarnation != data.incarnation or known.state == "left":
            return Applied("no such incarnation is online")
        self.agents[data.agent] = msgspec.structs.replace(known, state="left", reason=data.reason)
        return Applied(None)

    def _gpu_service(
        self, data: ev.AgentGpuDrained | ev.AgentGpuRestored, record: ev.Recorded
    ) -> Applied:
        if data.agent != record.key:
            return Applied("the record's key is not the agent's id")
        refusal = self._refuse_incarnation(data.agent, data.incarnation)
        if refusal is not None:
            return Applied(refusal)
        if data.gpu not in self._offered_by(data.agent):
            return Applied(f"agent {data.agent} has no GPU {data.gpu}")
        if isinstance(data, ev.AgentGpuRestored):
            if self.drained.pop(data.gpu, None) is None:
                return Applied(f"GPU {data.gpu} is not drained")
        elif data.gpu in self.drained:
            return Applied(f"GPU {data.gpu} is drained already")
        else:
            self.drained[data.gpu] = GpuDrain(data.reason, data.agent, self.log_time)
        return Applied(None)

    def _took_over(self, data: ev.SchedulerTookOver) -> Applied:
        if not 0 < data.epoch - self.epoch <= MAX_EPOCH_STEP:
            return Applied(f"epoch {data.epoch} does not follow {self.epoch}")
        self.epoch = data.epoch
        self.scheduler = data.scheduler
        return Applied(None)

    def _forget_old(self) -> None:
        """Drop what ended so long ago that its id cannot be requested again. They stand in the
        order of their ends; how old the id is would not do: it may have run for days, and whoever
        asks for its end must still find it."""
        horizon = self.log_time - REMEMBER_MS
        while self.ended:
            oldest = next(iter(self.ended))
            if self.ended[oldest].log_time >= horizon:
                return
            del self.ended[oldest]
