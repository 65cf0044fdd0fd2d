"""GPUs that only say so: no device stands behind them. A file steers what they say.

The file is JSON, read anew at each question; a missing one steers nothing. By the GPUs' numbers:

    {"0": {"memory": 4294967296, "utilisation": 0.75, "power": 300.0},
     "1": {"processes": [4711], "uncorrected": 2, "needs": "a reset", "lost": false, "hangs": 5.0},
     "xids": [[1, 79]]}

`xids` are [number, code] in the order of their coming; append to it, for each is reported once.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec

from hermes.domain.resources import GIB, Gpu
from infra.gpu.model import GpuCondition, GpuFault, GpuReading, HostGpu, Xid

_LOOK = 0.05


class FakeGpuState(msgspec.Struct, frozen=True, kw_only=True):
    """What one of them says. `hangs`: seconds that every question about it takes."""

    memory: int = 2 * GIB
    utilisation: float = 0.5
    power: float = 100.0
    processes: tuple[int, ...] = ()
    uncorrected: int = 0
    needs: str | None = None
    tells_needs: bool = True
    lost: bool = False
    hangs: float = 0.0


class FakeNvml:
    """See GpuLibrary and the module. `name` tells the GPUs of two agents apart."""

    def __init__(self, count: int, name: str, steering: Path | None = None) -> None:
        self._uuids = [f"GPU-fake-{name}-{number}" for number in range(count)]
        self._steering = steering
        self._reported = 0
        self._closed = threading.Event()

    def inventory(self) -> dict[str, HostGpu]:
        """16 GiB each, and no device nodes."""
        return {
            uuid: HostGpu(
                Gpu(
                    uuid=uuid,
                    name="Fake GPU",
                    memory=16 * GIB,
                    compute_capability="9.0",
                    driver="fake",
                ),
                (),
            )
            for uuid in self._uuids
        }

    def sample(self, uuid: str) -> GpuReading:
        """As steered; the energy counter rises with the steered power."""
        state = self._ask(uuid)
        return GpuReading(
            memory=state.memory,
            utilisation=state.utilisation,
            power=state.power,
            energy=state.power * time.monotonic(),
        )

    def condition(self, uuid: str) -> GpuCondition:
        """As steered."""
        state = self._ask(uuid)
        return GpuCondition(
            processes=state.processes,
            uncorrected=state.uncorrected,
            needs=state.needs,
            tells_needs=state.tells_needs,
        )

    def next_xid(self, timeout: float) -> Xid | None:
        """The next of the steered ones."""
        deadline = time.monotonic() + timeout
        look = timeout if self._steering is None else _LOOK
        while True:
            reported = msgspec.convert(self._read().get("xids", []), list[tuple[int, int]])
            if self._reported < len(reported):
                number, code = reported[self._reported]
                self._reported += 1
                return Xid(self._uuids[number], code)
            left = deadline - time.monotonic()
            if left <= 0 or self._closed.wait(min(look, left)):
                return None

    def close(self) -> None:
        """Wake up whoever waits for an answer or an error."""
        self._closed.set()

    def _ask(self, uuid: str) -> FakeGpuState:
        if uuid not in self._uuids:
            raise GpuFault(f"this host has no GPU {uuid}")
        state = msgspec.convert(self._read().get(str(self._uuids.index(uuid)), {}), FakeGpuState)
        if state.hangs:
            self._closed.wait(state.hangs)
        if state.lost:
            raise GpuFault("it has fallen off the bus")
        return state

    def _read(self) -> dict[str, object]:
        if self._steering is None or not self._steering.exists():
            return {}
        try:
            return msgspec.json.decode(self._steering.read_bytes(), type=dict[str, object])
        except msgspec.DecodeError as error:
            raise GpuFault(f"{self._steering} steers no fake GPU: {error}") from None
