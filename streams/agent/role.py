"""The agent's reactions: what the fold gives it is claimed and run, what it takes away is ended.

Level-triggered: besides every folded record, a scan of the live executions on each tick finds what
is owed, so an event whose reaction died with an earlier process, or was never rung, is not lost.
"""

from __future__ import annotations

import asyncio
import logging

from aiokafka.errors import KafkaError

from hermes.domain import events as ev
from hermes.domain.events import Recorded
from hermes.domain.execution import ExecutionState
from hermes.domain.pool import Applied
from hermes.domain.resources import Inventory
from hermes.errors import HermesError, LogUnavailable
from streams.agent.attempt import Attempt
from streams.agent.host import Host
from streams.heartbeats import Heartbeat, encode_heartbeat
from streams.log import new_event

log = logging.getLogger(__name__)

TICK = 0.5


class Agent:
    """The attempts of this incarnation, by execution."""

    def __init__(self, host: Host, heartbeats_topic: str, inventory: Inventory) -> None:
        self._host = host
        self._heartbeats_topic = heartbeats_topic
        self._inventory = inventory
        self._attempts: dict[str, tuple[Attempt, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._joined = False
        self._stopping = False
        host.fold.listen(self._folded)

    def ring(self) -> None:
        """Faust has news; each folded record was already taken up by the listener."""

    async def join(self) -> None:
        """Append `agent.joined` and read it back. Raises LogUnavailable."""
        host = self._host
        event = new_event(
            ev.AgentJoined(
                agent=host.settings.agent,
                incarnation=host.incarnation,
                inventory=self._inventory,
            ),
            host.actor,
        )
        await host.events.append(host.fold.topic, host.settings.agent, event)
        await host.fold.catch_up()
        known = host.fold.state.agents.get(host.settings.agent)
        if known is None or known.incarnation != host.incarnation:
            raise LogUnavailable("another agent of this name joined at the same time")
        self._joined = True
        await self.beat()

    async def tick(self) -> None:
        """Catch up and look for what is owed, for ever."""
        while True:
            await asyncio.sleep(TICK)
            try:
                await self._host.fold.catch_up()
            except (LogUnavailable, KafkaError) as error:
                log.warning("cannot read the log now: %s", error)
                continue
            known = self._host.fold.state.agents.get(self._host.settings.agent)
            if known is None or known.incarnation != self._host.incarnation:
                # Somebody else joined under this name: this process may start nothing more.
                raise LogUnavailable(f"another agent joined as {self._host.settings.agent}")
            if known.state != "online":
                raise LogUnavailable("somebody said goodbye in this agent's name; it joins anew")
            for execution in list(self._host.fold.state.live.values()):
                self._consider(execution)
            for execution_id, (attempt, _) in list(self._attempts.items()):
                if execution_id not in self._host.fold.state.live:
                    attempt.fence()
            await self._release_gpus()

    async def _release_gpus(self) -> None:
        """Tell the pool which GPUs of lost attempts are free: their sandboxes are gone. Also those
        of another agent on this host: it may have got another name, and never come back."""
        host = self._host
        own = (host.settings.agent, host.incarnation)
        freed: dict[tuple[str, int], list[str]] = {}
        for uuid, hold in host.fold.state.gpus.items():
            execution = host.fold.state.live.get(hold.execution_id)
            current = execution.current if execution is not None else None
            if current is not None and current.attempt == hold.attempt:
                continue
            if (hold.agent, hold.incarnation) == own:
                held = self._attempts.get(hold.execution_id)
                is_free = held is None or held[0].number != hold.attempt
            else:
                is_free = host.gpus.is_unused(uuid)
            if is_free:
                freed.setdefault((hold.execution_id, hold.attempt), []).append(uuid)
        for (execution_id, attempt), gpus in freed.items():
            data = ev.ExecutionGpuReleased(
                execution_id=execution_id, attempt=attempt, gpus=tuple(gpus)
            )
            event = new_event(data, host.actor, correlation_id=execution_id)
            try:
                await host.events.append(host.fold.topic, execution_id, event)
            except LogUnavailable as error:
                log.warning("GPUs of %s stay held for now: %s", execution_id, error)

    async def heartbeats(self) -> None:
        """Prove life, for ever."""
        while True:
            await asyncio.sleep(self._host.settings.heartbeat)
            try:
                await self.beat()
            except LogUnavailable as error:
                log.warning("no heartbeat: %s", error)

    async def beat(self) -> None:
        """Send one heartbeat with the whole running set."""
        heartbeat = Heartbeat(
            agent=self._host.settings.agent,
            incarnation=self._host.incarnation,
            # A claim that never reached the log must not be renewed: it would wait for ever.
            running={
                key: attempt.number
                for key, (attempt, _) in self._attempts.items()
                if attempt.is_claimed
            },
            state="draining" if self._stopping else "online",
            drained_gpus=self._host.gpus.drained,
        )
        await self._host.events.send(
            self._heartbeats_topic, heartbeat.agent, encode_heartbeat(heartbeat)
        )

    async def leave(self, reason: str) -> None:
        """End every attempt, then say goodbye; the scheduler calls what ran lost."""
        self._stopping = True
        tasks = []
        for attempt, task in self._attempts.values():
            attempt.shut_down()
            tasks.append(task)
        if tasks:
            await asyncio.wait(tasks, timeout=3.0)
        host = self._host
        event = new_event(
            ev.AgentLeft(agent=host.settings.agent, incarnation=host.incarnation, reason=reason),
            host.actor,
        )
        try:
            async with asyncio.timeout(1.0):
                await host.events.append(host.fold.topic, host.settings.agent, event)
        except (LogUnavailable, TimeoutError):
            log.warning("could not say goodbye; the lease will run out")

    def _folded(self, record: Recorded, applied: Applied) -> None:
        if self._joined and applied.execution is not None and not applied.superseded:
            self._consider(applied.execution)

    def _consider(self, execution: ExecutionState) -> None:
        """Bring what runs here in line with what the log says of this execution."""
        current = execution.current
        mine = (
            current is not None
            and current.agent == self._host.settings.agent
            and current.incarnation == self._host.incarnation
        )
        held = self._attempts.get(execution.id)
        if held is not None and (not mine or current is None or held[0].number != current.attempt):
            held[0].fence()
            return
        if current is None or not mine:
            return
        if held is None:
            if current.status == "scheduled" and not self._stopping:
                self._begin(execution)
            return
        if current.status == "claimed":
            held[0].claim_accepted()
        if execution.cancel_requested_at is not None:
            held[0].cancel()

    def _begin(self, execution: ExecutionState) -> None:
        attempt = Attempt(self._host, execution, execution.attempts[-1])
        task = asyncio.get_running_loop().create_task(attempt.run())
        self._attempts[execution.id] = (attempt, task)
        task.add_done_callback(lambda done: self._ended(execution.id, attempt, done))
        if execution.cancel_requested_at is not None:
            attempt.cancel()

    def _ended(self, execution_id: str, attempt: Attempt, task: asyncio.Task[None]) -> None:
        held = self._attempts.get(execution_id)
        if held is not None and held[0] is attempt:
            del self._attempts[execution_id]
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, HermesError):
            log.error("attempt %s-%d: %s", execution_id, attempt.number, error)
        elif error is not None:
            log.error("attempt %s-%d", execution_id, attempt.number, exc_info=error)
