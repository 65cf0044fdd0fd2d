"""When something was last started here, for work that had better wait until nothing is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class Starts:
    """Those under way, and the last one. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._under_way = 0
        self.last = float("-inf")

    def note(self) -> None:
        """Something starts at this moment."""
        self.last = self._clock()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """While one is under way."""
        self.note()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self.note()

    def quiet_in(self, seconds: float) -> float:
        """How long until nothing has started for `seconds`, at the soonest; 0 or less: now."""
        return seconds if self._under_way else self.last + seconds - self._clock()
