"""The ledger of GPUs: who had which, and for how long, proved from the log alone.

Two books are kept of every pool's topic, and they share nothing but the records and which of them
were superseded. The one by device reads the events itself: a GPU is leased from `scheduled` until
the attempt finishes or its host says that it is free. The one by user goes by what the fold says
that executions hold. Time is the log's, in whole microseconds, so that sums are equal or not.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping

import msgspec

from hermes.domain import events as ev
from hermes.domain.pool import Applied, GpuHold
from hermes.domain.resources import Gpu, Position

MAX_FINDINGS = 100
"""As many are told in full; all of them are counted."""
_NOBODY = ("", "")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must not be, and the record that shows it. `kind`: overlap, not_offered,
    drained, not_held, holds_differ, sums_differ or begins_late."""

    kind: str
    pool: str
    gpu: str | None
    message: str
    position: Position | None


class Lease:
    """A lease that has not ended."""

    def __init__(
        self, data: ev.ExecutionScheduled, owner: tuple[str, str], start: int, offset: int
    ) -> None:
        self.execution_id = data.execution_id
        self.attempt = data.attempt
        self.agent = data.agent
        self.incarnation = data.incarnation
        self.user, self.function = owner
        self.start = start
        self.offset = offset
        self.lost = False

    @property
    def holder(self) -> tuple[str, int]:
        """The attempt that has the GPU."""
        return self.execution_id, self.attempt


class Device:
    """A GPU in one pool: its open leases, and when it was leased. Honest logs have one lease at a
    time; `busy_us` is the time in which there was any, however many overlapped."""

    def __init__(self) -> None:
        self.open: list[Lease] = []
        self.busy_us = 0
        self.busy_since = 0
        # One after the other: start, end and the offset of `scheduled` of every ended lease.
        self.ended = array("q")

    @property
    def leases(self) -> int:
        """How many have ended."""
        return len(self.ended) // 3


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
        self._held: dict[str, tuple[GpuHold, tuple[str, str], int]] = {}
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
        if self._enter(record.event.data, record):
            self._follow(applied, holds)
            self._compare(holds, record)

    def begin_at(self, offset: int) -> None:
        """The topic begins there. Behind its start nothing can be proved."""
        if offset:
            message = f"records 0 to {offset - 1} are gone"
            position = Position(self.topic, 0, offset)
            self._find("begins_late", None, message, position)
        self._next_offset = offset

    # --- by device, from the events

    def _enter(self, data: ev.EventData, record: ev.Recorded) -> bool:
        """Whether it is an event that may change who has a GPU."""
        match data:
            case ev.ExecutionRequested():
                function = f"{data.function}:{data.version}"
                self._owners[data.execution_id] = (data.owner, function)
                return False
            case ev.ExecutionScheduled():
                for uuid in data.gpus:
                    self._lease(uuid, data, record)
            case ev.ExecutionFinished():
                self._owners.pop(data.execution_id, None)
                self._end_where(
                    lambda lease: (
                        lease.holder == (data.execution_id, data.attempt) and not lease.lost
                    )
                )
            case ev.ExecutionRejected():
                self._owners.pop(data.execution_id, None)
            case ev.ExecutionAttemptLost():
                self._lose(data)
            case ev.ExecutionGpuReleased():
                self._release(data, record)
            case ev.AgentJoined():
                self._offered[data.agent] = (data.incarnation, data.inventory.gpus)
                self.names.update((gpu.uuid, gpu.name) for gpu in data.inventory.gpus)
                # It joins with its GPUs free of whatever was lost.
                self._end_where(lambda lease: lease.agent == data.agent and lease.lost)
            case ev.AgentGpuDrained():
                self._drained.add(data.gpu)
            case ev.AgentGpuRestored():
                self._drained.discard(data.gpu)
            case _:
                return False
        return True

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
        device.open.append(Lease(data, owner, self.now_us, record.offset))

    def _lose(self, data: ev.ExecutionAttemptLost) -> None:
        for device in self.devices.values():
            for lease in device.open:
                if lease.holder == (data.execution_id, data.attempt):
                    lease.lost = True
        # An agent that has joined anew meanwhile did so with its GPUs free.
        self._end_where(
            lambda lease: (
                lease.holder == (data.execution_id, data.attempt)
                and self._offered.get(lease.agent, ("", ()))[0] != lease.incarnation
            )
        )

    def _release(self, data: ev.ExecutionGpuReleased, record: ev.Recorded) -> None:
        held = [
            (device, lease)
            for uuid in dict.fromkeys(data.gpus)
            if (device := self.devices.get(uuid)) is not None
            for lease in device.open
            if lease.holder == (data.execution_id, data.attempt)
        ]
        for device, lease in held:
            self._end(device, lease)
        if not held:
            message = f"attempt {data.attempt} of {data.execution_id} released what it did not have"
            self._find("not_held", data.gpus[0] if data.gpus else None, message, _place(record))

    def _end_where(self, ends: Callable[[Lease], bool]) -> None:
        for device in self.devices.values():
            for lease in [lease for lease in device.open if ends(lease)]:
                self._end(device, lease)

    def _end(self, device: Device, lease: Lease) -> None:
        device.open.remove(lease)
        device.ended.extend((lease.start, self.now_us, lease.offset))
        if not device.open:
            device.busy_us += self.now_us - device.busy_since

    # --- by user, from what executions hold

    def _follow(self, applied: Applied, holds: Mapping[str, GpuHold]) -> None:
        for uuid, (hold, (user, function), since) in list(self._held.items()):
            if holds.get(uuid) != hold:
                del self._held[uuid]
                self.users.setdefault(user, Total()).add(self.now_us - since)
                self.functions.setdefault(function, Total()).add(self.now_us - since)
        for uuid, hold in holds.items():
            if uuid not in self._held:
                execution = applied.execution
                owner = _NOBODY
                if execution is not None and execution.id == hold.execution_id:
                    owner = (execution.owner, f"{execution.function}:{execution.version}")
                self._held[uuid] = (hold, owner, self.now_us)

    # --- one against the other

    def _compare(self, holds: Mapping[str, GpuHold], record: ev.Recorded) -> None:
        leased = {
            uuid: device.open[-1].holder for uuid, device in self.devices.items() if device.open
        }
        held = {uuid: (hold.execution_id, hold.attempt) for uuid, hold in holds.items()}
        disputed = {}
        for uuid in sorted(leased.keys() | held.keys()):
            if leased.get(uuid) != held.get(uuid):
                says = f"the events give it to {_named(leased.get(uuid))}"
                disputed[uuid] = f"{says}, the executions to {_named(held.get(uuid))}"
                if self._disputed.get(uuid) != disputed[uuid]:
                    self._find("holds_differ", uuid, disputed[uuid], _place(record))
        self._disputed = disputed

    def _find(self, kind: str, uuid: str | None, message: str, position: Position) -> None:
        self.failures += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(
                Finding(kind=kind, pool=self.pool, gpu=uuid, message=message, position=position)
            )


def _place(record: ev.Recorded) -> Position:
    return Position(record.topic, record.partition, record.offset)


def _named(holder: tuple[str, int] | None) -> str:
    return "nobody" if holder is None else f"attempt {holder[1]} of {holder[0]}"
