"""What the pool's log is told of this agent's GPUs, and what it says of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from hermes.domain import events as ev
from hermes.domain.codec import encode
from hermes.domain.pool import Applied, PoolState
from hermes.errors import LogUnavailable
from streams.fold import LogFold
from streams.log import LogWriter, new_event

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY = 0.5
_READ = 5.0


class Reports(Protocol):
    """What the keeper of GPUs needs of the log."""

    def drained(self) -> Mapping[str, str]:
        """The GPUs out of service, as the log has it: by UUID, why."""

    async def drain(self, uuid: str, reason: str) -> None:
        """Say that it is out of service: nothing that is appended later comes before it."""

    async def restore(self, uuid: str) -> None:
        """Say that it is well again: `drained` has it no more when this returns, unless it was
        taken out of service anew."""


class LogReports:
    """See Reports. `agent` and `incarnation` sign; the agent must have joined."""

    def __init__(
        self, fold: LogFold[PoolState, Applied], events: LogWriter, agent: str, incarnation: str
    ) -> None:
        self._fold = fold
        self._events = events
        self._agent = agent
        self._incarnation = incarnation

    def drained(self) -> Mapping[str, str]:
        """As folded by now."""
        return {uuid: drain.reason for uuid, drain in self._fold.state.drained.items()}

    async def drain(self, uuid: str, reason: str) -> None:
        """Hand `agent.gpu_drained` over, however long the log takes."""
        event = self._event(
            ev.AgentGpuDrained(
                agent=self._agent, incarnation=self._incarnation, gpu=uuid, reason=reason
            )
        )
        await self._insist(lambda: self._events.send(self._fold.topic, self._agent, encode(event)))

    async def restore(self, uuid: str) -> None:
        """Append `agent.gpu_restored`, however long the log takes, until it is folded."""
        event = self._event(
            ev.AgentGpuRestored(agent=self._agent, incarnation=self._incarnation, gpu=uuid)
        )
        position = await self._insist(
            lambda: self._events.append(self._fold.topic, self._agent, event)
        )
        while not await self._fold.reached(position.offset, _READ):
            log.warning("GPU %s is well again, but the log is read slowly", uuid)

    def _event(self, data: ev.EventData) -> ev.Event:
        return new_event(data, f"agent:{self._agent}")

    async def _insist(self, hand_over: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await hand_over()
            except LogUnavailable as error:
                log.warning("the state of a GPU waits for the log: %s", error)
                await asyncio.sleep(_RETRY)
