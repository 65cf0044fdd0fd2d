"""What the pool's log is told of this agent's GPUs, and what it says of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from hermes.domain import events as ev
from hermes.domain.codec import encode
from hermes.domain.pool import Applied, PoolState
from hermes.errors import LogUnavailable
from streams.fold import LogFold
from streams.log import LogWriter, new_event

log = logging.getLogger(__name__)

_RETRY = 0.5


class Reports(Protocol):
    """What the keeper of GPUs needs of the log."""

    def drained(self) -> Mapping[str, str]:
        """The GPUs out of service, as the log has it: by UUID, why."""

    async def drain(self, uuid: str, reason: str) -> None:
        """Say that it is out of service: nothing that is appended later comes before it."""

    async def restore(self, uuid: str) -> None:
        """Say that it is well again."""


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
        await self._append(
            ev.AgentGpuDrained(
                agent=self._agent, incarnation=self._incarnation, gpu=uuid, reason=reason
            )
        )

    async def restore(self, uuid: str) -> None:
        """Hand `agent.gpu_restored` over, however long the log takes."""
        await self._append(
            ev.AgentGpuRestored(agent=self._agent, incarnation=self._incarnation, gpu=uuid)
        )

    async def _append(self, data: ev.EventData) -> None:
        event = new_event(data, f"agent:{self._agent}")
        while True:
            try:
                await self._events.send(self._fold.topic, self._agent, encode(event))
                return
            except LogUnavailable as error:
                log.warning("the state of a GPU waits for the log: %s", error)
                await asyncio.sleep(_RETRY)
