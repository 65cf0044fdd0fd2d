"""Leases by the scheduler's own clock: what an agent must renew, and whose time is over.

Times are monotonic seconds of this process. A start, a takeover or a pause of the scheduler counts
every lease afresh: its silence proves nothing against the agents.
"""

from __future__ import annotations

import msgspec

from hermes.domain.execution import ExecutionState
from hermes.domain.pool import PoolState
from streams.heartbeats import Heartbeat

PAUSE = 2.0


class Overdue(msgspec.Struct, frozen=True):
    """An attempt that should be called lost, and why. `certain` needs no further proof."""

    execution: ExecutionState
    attempt: int
    reason: str
    certain: bool


class Leases:
    """See the module."""

    def __init__(self, lease: float, claim_timeout: float) -> None:
        self._lease = lease
        self._claim_timeout = claim_timeout
        self._renewed: dict[tuple[str, int], float] = {}
        self._agents: dict[tuple[str, str], float] = {}
        self._looked = 0.0
        self._afresh = 0.0

    def start_afresh(self, now: float) -> None:
        """Count every lease from now on."""
        self._renewed.clear()
        self._agents.clear()
        self._afresh = now
        self._looked = now

    def heard(self, heartbeat: Heartbeat, now: float) -> None:
        """A heartbeat renews its agent's life and the leases of what it says is running."""
        self._agents[heartbeat.agent, heartbeat.incarnation] = now
        for execution_id, attempt in heartbeat.running.items():
            self._renewed[execution_id, attempt] = now

    def alive(self, state: PoolState, now: float) -> set[str]:
        """Agents that were heard of, or joined, within a lease."""
        return {
            name
            for name, agent in state.agents.items()
            if now - self._agents.setdefault((name, agent.incarnation), now) < self._lease
        }

    def overdue(self, state: PoolState, now: float) -> list[Overdue]:
        """Attempts whose claim or lease is late, or whose agent's incarnation is gone."""
        if now - self._looked > PAUSE:
            self.start_afresh(now)
        self._looked = now
        found = []
        held: set[tuple[str, int]] = set()
        for execution in state.live.values():
            current = execution.current
            if current is None:
                continue
            key = (execution.id, current.attempt)
            held.add(key)
            agent = state.agents.get(current.agent)
            since = self._renewed.setdefault(key, now)
            if agent is None or agent.incarnation != current.incarnation:
                found.append(Overdue(execution, current.attempt, "agent_restarted", True))
            elif agent.state == "left":
                found.append(Overdue(execution, current.attempt, "agent_left", True))
            elif current.status == "scheduled" and now - since > self._claim_timeout:
                found.append(Overdue(execution, current.attempt, "not_claimed", False))
            elif now - since > max(current.lease, self._lease):
                found.append(Overdue(execution, current.attempt, "lease_expired", False))
        for key in self._renewed.keys() - held:
            del self._renewed[key]
        return found
