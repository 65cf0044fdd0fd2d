"""The scheduler role: hands every waiting execution to an agent, and takes lost ones back.

One acts at a time: whoever got the partition appends `scheduler.took_over` with the next epoch, and
leads for as long as the fold names it. Decisions are appended in a pipeline and kept as pending
until the fold has passed them, so a slow acknowledgement neither blocks nor doubles one.
"""

from __future__ import annotations

import asyncio
import logging
import time

from aiokafka.errors import KafkaError

from hermes.domain import events as ev
from hermes.domain.codec import encode
from hermes.domain.events import Recorded
from hermes.domain.execution import ExecutionState
from hermes.domain.ids import new_id
from hermes.domain.pool import Applied, PoolState
from hermes.domain.scheduling import Decision, End, Place, Reject, Wait, plan
from hermes.errors import LogUnavailable
from hermes.readiness import report_ready
from hermes.runtime import run_role, serve
from hermes.settings import Settings
from infra.blobs import BlobStore
from streams.doorbell import Doorbell
from streams.fold import LogFold
from streams.heartbeats import Heartbeat, HeartbeatReader
from streams.leases import Leases, Overdue
from streams.log import LogWriter, PartitionReader, new_event, patiently
from streams.snapshots import Snapshots
from streams.topics import Topics, ensure_topics

log = logging.getLogger(__name__)

TICK = 0.5
# With every agent busy a place is free in a moment as a rule. An event that says so at once would
# cost as much as another of the run itself, just when there is the least room for it.
ANNOUNCE_AFTER = 0.25
# They neither free a place nor need one; planning on each would look at all that waits, and
# thousands may, five times for every run.
_CHANGES_NO_PLAN = (
    ev.ExecutionQueued,
    ev.ExecutionScheduled,
    ev.ExecutionClaimed,
    ev.ExecutionStarted,
)
OVERTAKEN_PAUSE = 5.0
"""Seconds for Faust to tell a process that was frozen whether the partition is still its own; it
would take it back from its successor, and that from it, as fast as both can append."""


class Scheduler:
    """The role's state beside the fold: leadership, pending decisions, leases."""

    def __init__(self, settings: Settings, pool: str) -> None:
        self._settings = settings
        self._pool = pool
        topics = Topics(settings.topic_prefix)
        topic = topics.executions(pool)
        self._output_topic = topics.output(pool)
        self._reader = PartitionReader(settings.bootstrap, topic)
        self.fold: LogFold[PoolState, Applied] = LogFold(
            PoolState(pool=pool, topic=topic), self._reader, topic
        )
        self.writer = LogWriter(settings.bootstrap, timeout=settings.append_timeout)
        self.heartbeats = HeartbeatReader(settings.bootstrap, topics.heartbeats(pool), self._heard)
        self.snapshots = Snapshots(BlobStore(settings.blobs_url))
        self._id = f"scheduler-{new_id()}"
        self._leases = Leases(settings.lease, settings.claim_timeout)
        self._pending: dict[str, Place | None] = {}
        self._waiting: dict[str, float] = {}
        self._confirming: dict[tuple[str, int], int] = {}
        self._plan_is_due = True
        self._planned_at = 0.0
        self._assigned = False
        self._epoch = 0
        self._overtaken = -OVERTAKEN_PAUSE
        self._wake = asyncio.Event()
        self.fold.listen(self._folded)

    @property
    def leads(self) -> bool:
        """Whether the fold names this process as the one that decides."""
        return self._assigned and self.fold.state.scheduler == self._id

    def ring(self) -> None:
        """News stand in the fold."""
        self._wake.set()

    async def assigned(self, mine: bool) -> None:
        """Faust gave us the partition, or took it away."""
        self._assigned = mine
        self._wake.set()

    def _heard(self, heartbeat: Heartbeat) -> None:
        # A takeover counts afresh; until then nobody would forget what is heard here.
        if self.leads:
            self._leases.heard(heartbeat, time.monotonic())

    def _folded(self, record: Recorded, applied: Applied) -> None:
        # Our own decision, or somebody's that made it obsolete: either way it is no more pending.
        self._pending.pop(record.key, None)
        self._waiting.pop(record.key, None)
        if applied.superseded or not (
            isinstance(record.event, ev.Event) and isinstance(record.event.data, _CHANGES_NO_PLAN)
        ):
            self._plan_is_due = True
        if self._epoch and isinstance(record.event, ev.Event) and not applied.superseded:
            data = record.event.data
            if isinstance(data, ev.SchedulerTookOver) and data.scheduler != self._id:
                self._overtaken = time.monotonic()

    async def run(self) -> None:
        """Decide, for ever: on every ring, and on a tick for what no event announces."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), TICK)
            except TimeoutError:
                await self._tick()
            self._wake.clear()
            try:
                await self._act()
            except LogUnavailable as error:
                log.warning("cannot decide now: %s", error)
                await asyncio.sleep(TICK)
            if self.leads and self.snapshots.is_due(self.fold.state):
                await self.snapshots.save(self.fold.state)

    async def _tick(self) -> None:
        try:
            await self.fold.catch_up()
        except (LogUnavailable, KafkaError) as error:
            log.warning("cannot read the log now: %s", error)

    async def _act(self) -> None:
        if not self._assigned:
            return
        if not self.leads:
            if time.monotonic() - self._overtaken >= OVERTAKEN_PAUSE:
                await self._take_over()
            return
        # What is decided below carries this epoch, also if another takes over meanwhile.
        self._epoch = self.fold.state.epoch
        await self._call_lost()
        # Now and then in any case: no event tells that an agent is heard again, or that a run has
        # waited for long.
        if self._plan_is_due or time.monotonic() - self._planned_at >= ANNOUNCE_AFTER:
            await self._plan()

    async def _plan(self) -> None:
        self._plan_is_due = False
        self._planned_at = time.monotonic()
        alive = self._leases.alive(self.fold.state, self._planned_at)
        try:
            for decision in plan(self.fold.state, alive, self._pending):
                if not isinstance(decision, Wait) or self._waits_long(decision):
                    await self._append(decision)
        except LogUnavailable:
            self._plan_is_due = True
            raise

    def _waits_long(self, decision: Wait) -> bool:
        now = time.monotonic()
        return now - self._waiting.setdefault(decision.execution.id, now) >= ANNOUNCE_AFTER

    async def _take_over(self) -> None:
        await self.fold.catch_up()
        epoch = self.fold.state.epoch + 1
        event = new_event(ev.SchedulerTookOver(scheduler=self._id, epoch=epoch), self._id)
        await self.writer.append(self.fold.topic, self._pool, event)
        await self.fold.catch_up()
        self._pending.clear()
        self._plan_is_due = True
        self._leases.start_afresh(time.monotonic())
        if self.leads:
            log.info("scheduling pool %s in epoch %d", self._pool, epoch)
            self._wake.set()

    async def _append(self, decision: Decision) -> None:
        execution = decision.execution
        data: ev.EventData
        place = None
        match decision:
            case Place():
                place = decision
                data = ev.ExecutionScheduled(
                    execution_id=execution.id,
                    attempt=execution.attempt + 1,
                    agent=decision.agent.agent,
                    incarnation=decision.agent.incarnation,
                    epoch=self._epoch,
                    gpus=decision.gpus,
                    lease=self._settings.lease,
                )
            case Wait():
                data = ev.ExecutionQueued(execution_id=execution.id, reason=decision.reason)
            case Reject():
                data = ev.ExecutionRejected(execution_id=execution.id, reason=decision.reason)
            case End():
                data = _ended(execution, decision)
        await self._send(execution, data, place)

    async def _send(
        self, execution: ExecutionState, data: ev.EventData, place: Place | None
    ) -> None:
        event = new_event(data, f"scheduler:{self._pool}", correlation_id=execution.id)
        self._pending[execution.id] = place
        try:
            future = await self.writer.send(self.fold.topic, execution.id, encode(event))
        except LogUnavailable:
            self._pending.pop(execution.id, None)
            raise
        future.add_done_callback(lambda done: self._sent(execution.id, done))

    def _sent(self, execution_id: str, done: asyncio.Future[object]) -> None:
        if not done.cancelled() and done.exception() is not None:
            log.warning("a decision was not appended: %s", done.exception())
            self._pending.pop(execution_id, None)
            self._plan_is_due = True

    async def _call_lost(self) -> None:
        now = time.monotonic()
        overdue = self._leases.overdue(self.fold.state, now)
        late = {(one.execution.id, one.attempt) for one in overdue}
        for key in self._confirming.keys() - late:
            del self._confirming[key]
        for one in overdue:
            if one.execution.id in self._pending or not await self._confirmed(one):
                continue
            await self._lose(one)

    async def _confirmed(self, one: Overdue) -> bool:
        """A lease is over only when every heartbeat that came before its end has been read."""
        if one.certain:
            return True
        key = (one.execution.id, one.attempt)
        if key not in self._confirming:
            self._confirming[key] = await self.heartbeats.end_offset()
            return False  # a heartbeat may have been read meanwhile: look again
        return self.heartbeats.next_offset >= self._confirming[key]

    async def _lose(self, one: Overdue) -> None:
        current = one.execution.attempts[-1]
        end = None
        if current.output_partition is not None:
            end = await self._reader.end_offset_of(self._output_topic, current.output_partition)
        log.warning("attempt %d of %s: %s", one.attempt, one.execution.id, one.reason)
        await self._send(
            one.execution,
            ev.ExecutionAttemptLost(
                execution_id=one.execution.id,
                attempt=one.attempt,
                epoch=self._epoch,
                reason=one.reason,
                output_end_offset=end,
            ),
            None,
        )


def _ended(execution: ExecutionState, decision: End) -> ev.ExecutionFinished:
    return ev.ExecutionFinished(
        execution_id=execution.id,
        attempt=execution.attempt,
        outcome=decision.outcome,
        exit_code=None,
        signal=None,
        usage=None,
        last_seq=-1,
        output={},
        reason=decision.reason,
    )


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Run the scheduler of `settings.pool` until `stop`."""
    await patiently(lambda: ensure_topics(settings, settings.pool), "Kafka")
    scheduler = Scheduler(settings, settings.pool)
    await scheduler.writer.start()
    await scheduler.fold.start(scheduler.snapshots.restore)
    await scheduler.heartbeats.start()
    doorbell = Doorbell(
        f"{settings.topic_prefix}-scheduler-{settings.pool}",
        settings.bootstrap,
        [scheduler.fold],
        scheduler.ring,
        scheduler.assigned,
    )
    await doorbell.start()
    report_ready()
    try:
        await serve(
            stop,
            [
                scheduler.run(),
                scheduler.heartbeats.follow(),
                scheduler.writer.watch(),
                doorbell.watch(),
            ],
        )
    finally:
        await doorbell.stop()
        await scheduler.heartbeats.stop()
        await scheduler.fold.stop()
        await scheduler.writer.stop()


if __name__ == "__main__":
    run_role("scheduler", main)
