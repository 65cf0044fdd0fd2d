"""The Hermes that is measured, and beside it the floor: the same programs without Hermes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psutil

from tests.bench.client import Client
from tests.bench.cpu import CpuClock
from tests.bench.floor import FUNCTIONS, Floor
from tests.bench.report import Report
from tests.support.system import System, User


class Subject:
    """A whole Hermes in a temporary folder, with the bench's functions deployed by `ana`.

    `settings` are HERMES_* variables for it.
    """

    def __init__(self, quick: bool, settings: Mapping[str, str] | None = None) -> None:
        self.quick = quick
        self.report = Report()
        self.floor = Floor()
        self._system = System(settings)

    async def __aenter__(self) -> Self:
        try:
            self._system.start()
            self.user: User = self._system.user("ana")
            for function in sorted(FUNCTIONS.iterdir()):
                self.user.ok("function", "deploy", str(function))
            self.client = Client(self._system.url, self.user.token)
            await self.client.open()
        except BaseException:
            print(self._system.logs(), file=sys.stderr)
            self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            print(self._system.logs(), file=sys.stderr)
        await self.client.close()
        self._close()

    def _close(self) -> None:
        self._system.stop()
        self.floor.close()

    def cpu(self) -> CpuClock:
        """A clock over the roles as they run now."""
        return CpuClock(self._system.pids())

    @property
    def bootstrap(self) -> str:
        """The address of its Kafka."""
        return psutil.Process(self._system.pids()["scheduler"]).environ()["HERMES_KAFKA"]

    def memory(self) -> dict[str, float]:
        """Resident MiB by role."""
        return {
            name: psutil.Process(pid).memory_info().rss / 2**20
            for name, pid in self._system.pids().items()
        }
