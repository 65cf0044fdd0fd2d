"""The ledger of GPUs: who had which, and for how long, proved from the log alone.

Two books are kept of every pool's topic, and they share nothing but the records and which of them
were superseded. The one by device reads the events itself: a GPU is leased from `scheduled` until
the attempt finishes or its host says that it is free. The one by user goes by what the fold says
that executions hold. Time is the log's, in whole microseconds, so that sums are equal or not.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping

import msgspec

from hermes.domain import events as ev
from hermes.domain.pool import Applied, GpuHold
from hermes.domain.resources import Gpu, Position

MAX_FINDINGS = 100
"""As many are told in full; all of them are counted."""
_NOBODY = ("", "")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must not be, and the record that shows it. `kind`: overlap, not_offered,
    drained, not_held, not_lost, holds_differ, sums_differ or begins_late."""

    kind: str
    pool: str
    gpu: str | None
    message: str
    position: Position | None


class Lease:
    """A lease of a GPU that has not ended. `began`: when its program started, if it did."""

    def __init__(
        self, gpu: str, data: ev.ExecutionScheduled, owner: tuple[str, str], start: int, offset: int
    ) -> None:
        self.gpu = gpu
        self.execution_id = data.execution_id
        self.attempt = data.attempt
        self.agent = data.agent
        self.incarnation = data.incarnation
        self.user, self.function = owner
        self.start = start
        self.offset = offset
        self.began: int | None = None
        self.lost = False

    @property
    def holder(self) -> tuple[str, int]:
        """The attempt that has the GPU."""
        return self.execution_id, self.attempt


class Device:
    """A GPU in one pool: its open leases, how many have ended, and when programs ran. Honest logs
    have one lease at a time; `busy_us` is the time in which there was any, however many
    overlapped."""

    def __init__(self) -> None:
        self.open: list[Lease] = []
        self.busy_us = 0
        self.busy_since = 0
        self.leases = 0
        # One after the other: start, end, and the offset of `scheduled`, of every run that is over.
        # When a lost one ended is not in the log: its end is its start.
        self.ran = array("q")


class Total:
    """Leases that have ended, and their time."""

    def __init__(self) -> None:
        self.leases = 0
        self.time_us = 0

    def add(self, time_us: int, leases: int = 1) -> None:
        """Count ended leases and their time."""
        self.leases += leases
        self.time_us += time_us


class PoolLedger:
    """Both books of one pool. `take` wants every record of its topic, in order."""

    def __init__(self, pool: str, topic: str) -> None:
        self.pool = pool
        self.topic = topic
        self.records = 0
        self.now_us = 0
        self.findings: list[Finding] = []
        self.failures = 0
        self.devices: dict[str, Device] = {}
        self.names: dict[str, str] = {}
        self.users: dict[str, Total] = {}
        self.functions: dict[str, Total] = {}
        self._next_offset = 0
        self._owners: dict[str, tuple[str, str]] = {}
        self._offered: dict[str, tuple[str, tuple[Gpu, ...]]] = {}
        self._drained: set[str] = set()
        self._open: dict[tuple[str, int], list[Lease]] = {}
        self._seen: dict[str, GpuHold] = {}
        self._held: dict[str, tuple[tuple[str, str], int]] = {}
        self._disputed: dict[str, str] = {}

    def take(self, record: ev.Recorded, applied: Applied, holds: Mapping[str, GpuHold]) -> None:
        """Enter the next record: what the fold made of it, and which GPUs are held after it."""
        if record.offset != self._next_offset:
            message = f"records {self._next_offset} to {record.offset - 1} are gone"
            self._find("begins_late", None, message, _place(record))
        self._next_offset = record.offset + 1
        self.records += 1
        self.now_us = max(self.now_us, record.log_time * 1000)
        if applied.superseded or isinstance(record.event, ev.Malformed):
            return
        touched = self._enter(record.event.data, record)
        # Equal as a rule, and quick to compare: most records concern no GPU.
        if touched or holds != self._seen:
            touched |= self._follow(applied, holds)
            self._compare(touched | self._disputed.keys(), holds, record)

    def begin_at(self, offset: int) -> None:
        """The topic begins there. Behind its start nothing can be proved."""
        if offset:
            message = f"records 0 to {offset - 1} are gone"
            position = Position(self.topic, 0, offset)
            self._find("begins_late", None, message, position)
        self._next_offset = offset

    # --- by device, from the events

    def _enter(self, data: ev.EventData, record: ev.Recorded) -> set[str]:
        """The GPUs that somebody else may have after it."""
        match data:
            case ev.ExecutionRequested():
                function = f"{data.function}:{data.version}"
                self._owners[data.execution_id] = (data.owner, function)
            case ev.ExecutionScheduled():
                for uuid in data.gpus:
                    self._lease(uuid, data, record)
                return set(data.gpus)
            case ev.ExecutionStarted():
                for lease in self._open.get((data.execution_id, data.attempt), ()):
                    lease.began = self.now_us
            case ev.ExecutionFinished():
                self._owners.pop(data.execution_id, None)
                return self._end_where(_of(data), lambda lease: not lease.lost)
            case ev.ExecutionRejected():
                self._owners.pop(data.execution_id, None)
            case ev.ExecutionAttemptLost():
                return self._lose(data)
            case ev.ExecutionGpuReleased():
                return self._release(data, record)
            case ev.AgentJoined():
                self._offered[data.agent] = (data.incarnation, data.inventory.gpus)
                self.names.update((gpu.uuid, gpu.name) for gpu in data.inventory.gpus)
                return self._rejoin(data.agent)
            case ev.AgentGpuDrained():
                self._drained.add(data.gpu)
            case ev.AgentGpuRestored():
                self._drained.discard(data.gpu)
        return set()

    def _lease(self, uuid: str, data: ev.ExecutionScheduled, record: ev.Recorded) -> None:
        device = self.devices.setdefault(uuid, Device())
        told, place = f"attempt {data.attempt} of {data.execution_id}", _place(record)
        for other in device.open:
            message = f"{told} got it while attempt {other.attempt} of {other.execution_id} had it"
            self._find("overlap", uuid, message, place)
        incarnation, gpus = self._offered.get(data.agent, ("", ()))
        if incarnation != data.incarnation or all(gpu.uuid != uuid for gpu in gpus):
            message = f"{told} got it of agent {data.agent}, who did not offer it"
            self._find("not_offered", uuid, message, place)
        if uuid in self._drained:
            self._find("drained", uuid, f"{told} got it while it was out of service", place)
        owner = self._owners.get(data.execution_id, _NOBODY)
        if not device.open:
            device.busy_since = self.now_us
        lease = Lease(uuid, data, owner, self.now_us, record.offset)
        device.open.append(lease)
        self._open.setdefault(lease.holder, []).append(lease)

    def _lose(self, data: ev.ExecutionAttemptLost) -> set[str]:
        holder = _of(data)
        for lease in self._open.get(holder, ()):
            lease.lost = True
        # An agent that has joined anew meanwhile did so with its GPUs free.
        return self._end_where(
            holder, lambda lease: self._offered.get(lease.agent, ("", ()))[0] != lease.incarnation
        )

    def _rejoin(self, agent: str) -> set[str]:
        """It joins with its GPUs free of whatever was lost."""
        touched = set()
        for holder in list(self._open):
            touched |= self._end_where(holder, lambda lease: lease.agent == agent and lease.lost)
        return touched

    def _release(self, data: ev.ExecutionGpuReleased, record: ev.Recorded) -> set[str]:
        holder, named = _of(data), set(data.gpus)
        told = f"attempt {data.attempt} of {data.execution_id}"
        for lease in self._open.get(holder, ()):
            if lease.gpu in named and not lease.lost:
                message = f"it was taken from {told}, which was neither lost nor over"
                self._find("not_lost", lease.gpu, message, _place(record))
        ended = self._end_where(holder, lambda lease: lease.gpu in named)
        if not ended:
            uuid = data.gpus[0] if data.gpus else None
            self._find("not_held", uuid, f"{told} released what it did not have", _place(record))
        return ended

    def _end_where(self, holder: tuple[str, int], ends: Callable[[Lease], bool]) -> set[str]:
        """End those of this attempt's leases: of which GPUs they were."""
        leases = self._open.get(holder, [])
        ended = [lease for lease in leases if ends(lease)]
        for lease in ended:
            leases.remove(lease)
            self._end(self.devices[lease.gpu], lease)
        if ended and not leases:
            del self._open[holder]
        return {lease.gpu for lease in ended}

    def _end(self, device: Device, lease: Lease) -> None:
        device.open.remove(lease)
        device.leases += 1
        if lease.began is not None:
            end = lease.began if lease.lost else self.now_us
            device.ran.extend((lease.began, end, lease.offset))
        if not device.open:
            device.busy_us += self.now_us - device.busy_since

    # --- by user, from what executions hold

    def _follow(self, applied: Applied, holds: Mapping[str, GpuHold]) -> set[str]:
        """The GPUs that are held by another attempt than before, or by none."""
        seen = self._seen
        gone = [uuid for uuid, hold in seen.items() if holds.get(uuid) != hold]
        for uuid in gone:
            (user, function), since = self._held.pop(uuid)
            self.users.setdefault(user, Total()).add(self.now_us - since)
            self.functions.setdefault(function, Total()).add(self.now_us - since)
        come = [uuid for uuid, hold in holds.items() if seen.get(uuid) != hold]
        for uuid in come:
            execution = applied.execution
            owner = _NOBODY
            if execution is not None and execution.id == holds[uuid].execution_id:
                owner = (execution.owner, f"{execution.function}:{execution.version}")
            self._held[uuid] = (owner, self.now_us)
        if gone or come:
            self._seen = dict(holds)
        return {*gone, *come}

    # --- one against the other

    def _compare(
        self, touched: Iterable[str], holds: Mapping[str, GpuHold], record: ev.Recorded
    ) -> None:
        """Of the GPUs that may have another holder now; of the others nothing has changed."""
        disputed = {}
        for uuid in sorted(touched):
            device, hold = self.devices.get(uuid), holds.get(uuid)
            leased = device.open[-1].holder if device is not None and device.open else None
            held = (hold.execution_id, hold.attempt) if hold is not None else None
            if leased != held:
                says = f"the events give it to {_named(leased)}"
                disputed[uuid] = f"{says}, the executions to {_named(held)}"
                if self._disputed.get(uuid) != disputed[uuid]:
                    self._find("holds_differ", uuid, disputed[uuid], _place(record))
        self._disputed = disputed

    def _find(self, kind: str, uuid: str | None, message: str, position: Position) -> None:
        self.failures += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(
                Finding(kind=kind, pool=self.pool, gpu=uuid, message=message, position=position)
            )


def _of(
    data: ev.ExecutionFinished | ev.ExecutionAttemptLost | ev.ExecutionGpuReleased,
) -> tuple[str, int]:
    return data.execution_id, data.attempt


def _place(record: ev.Recorded) -> Position:
    return Position(record.topic, record.partition, record.offset)


def _named(holder: tuple[str, int] | None) -> str:
    return "nobody" if holder is None else f"attempt {holder[1]} of {holder[0]}"
