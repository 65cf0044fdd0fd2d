"""Steers the GPUs that only say so (`infra.gpu.fake`) from a test, and hears of their state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class FakeGpuSteering:
    """The file that HERMES_FAKE_GPUS_FILE names. Every change is seen whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._said: dict[str, Any] = {"xids": []}
        self._write()

    def say(self, number: int, **state: Any) -> None:
        """What GPU `number` says from now on, beside what it said; see FakeGpuState."""
        self._said[str(number)] = self._said.get(str(number), {}) | state
        self._write()

    def xid(self, number: int, code: int) -> None:
        """An error of GPU `number`, reported once."""
        self._said["xids"].append([number, code])
        self._write()

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self._said))
        new.replace(self.path)


class FakeReports:
    """A log that folds at once what it is told; `said` has it all in order."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str | None]] = []
        self.state: dict[str, str] = {}

    def drained(self) -> dict[str, str]:
        return self.state

    async def drain(self, uuid: str, reason: str) -> None:
        self.said.append((uuid, reason))
        self.state[uuid] = reason

    async def restore(self, uuid: str) -> None:
        self.said.append((uuid, None))
        self.state.pop(uuid)
