"""Tells whoever waits that the server closes, so that a clean stop waits for nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Closing:
    """Set once; wakes everybody who watches."""

    def __init__(self) -> None:
        self._closing = False
        self._watchers: set[Callable[[], None]] = set()

    def set(self) -> None:
        """The server closes."""
        self._closing = True
        for wake in tuple(self._watchers):
            wake()

    def is_set(self) -> bool:
        """Whether it does."""
        return self._closing

    @contextmanager
    def watched(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called when it does."""
        self._watchers.add(wake)
        try:
            yield
        finally:
            self._watchers.discard(wake)
