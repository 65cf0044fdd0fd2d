"""The port to a host's GPUs. NVML is behind it, or a fake.

Every call may hang for as long as the driver does: make them on a thread (`infra.gpu.calls`).
"""

from __future__ import annotations

from typing import Protocol

from infra.gpu.model import GpuCondition, GpuReading, HostGpu, Xid


class GpuLibrary(Protocol):
    """All raise GpuFault when the driver refuses, also for a GPU that is gone."""

    def inventory(self) -> dict[str, HostGpu]:
        """By UUID: GPUs and, of those in MIG mode, their slices instead."""

    def sample(self, uuid: str) -> GpuReading:
        """How busy it is now."""

    def condition(self, uuid: str) -> GpuCondition:
        """How well it is now."""

    def next_xid(self, timeout: float) -> Xid | None:
        """The next error that the driver reports, or None after `timeout` seconds."""
