"""The events of every live execution, and of the newest ended ones, as the pool's fold read them.

A tail takes them from here, in memory, so it neither waits for a projection nor searches the log.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hermes.domain.events import Event, ExecutionRequested, Recorded
from hermes.domain.execution import ExecutionState
from hermes.domain.pool import Applied

KEEP_ENDED = 2000

Wake = Callable[[], None]


class Entry:
    """One execution: its state and its records with whether each was superseded."""

    __slots__ = ("records", "state")

    def __init__(self, state: ExecutionState) -> None:
        self.state = state
        self.records: list[tuple[Recorded, bool]] = []


class Journal:
    """Fed by the pool's fold, one record after the other."""

    def __init__(self, keep_ended: int = KEEP_ENDED) -> None:
        self._entries: dict[str, Entry] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._keep_ended = keep_ended
        self._watchers: dict[str, set[Wake]] = {}
        self._live_of: Counter[str] = Counter()

    def take(self, record: Recorded, applied: Applied) -> None:
        """The fold's listener."""
        event = record.event
        if not isinstance(event, Event):
            return
        execution_id = getattr(event.data, "execution_id", None)
        if execution_id is None:
            return
        entry = self._entries.get(execution_id)
        if entry is None:
            opened = applied.execution
            opens = isinstance(event.data, ExecutionRequested)
            if applied.superseded or opened is None or not opens:
                return
            entry = self._entries[execution_id] = Entry(opened)
            self._live_of[opened.owner_id] += 1
        entry.records.append((record, applied.superseded))
        if not applied.superseded and applied.execution is not None:
            entry.state = applied.execution
            if entry.state.terminal:
                self._end(entry.state)
        for wake in tuple(self._watchers.get(execution_id, ())):
            wake()

    def get(self, execution_id: str) -> Entry | None:
        """The execution, if it is live or ended lately."""
        return self._entries.get(execution_id)

    def starting_with(self, prefix: str) -> list[Entry]:
        """Those whose id starts so."""
        return [entry for key, entry in self._entries.items() if key.startswith(prefix)]

    @contextmanager
    def watched(self, execution_id: str, wake: Wake) -> Iterator[None]:
        """Call `wake` at every record of this execution, also before its first."""
        watchers = self._watchers.setdefault(execution_id, set())
        watchers.add(wake)
        try:
            yield
        finally:
            watchers.discard(wake)
            if not watchers and self._watchers.get(execution_id) is watchers:
                del self._watchers[execution_id]

    def live_of(self, owner_id: str) -> int:
        """How many of this user's executions have not ended."""
        return self._live_of[owner_id]

    def _end(self, state: ExecutionState) -> None:
        self._live_of[state.owner_id] -= 1
        if not self._live_of[state.owner_id]:
            del self._live_of[state.owner_id]
        self._ended[state.id] = None
        while len(self._ended) > self._keep_ended:
            oldest, _ = self._ended.popitem(last=False)
            self._entries.pop(oldest, None)
