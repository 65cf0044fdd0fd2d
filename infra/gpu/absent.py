"""A host without GPUs."""

from __future__ import annotations

import time

from infra.gpu.model import GpuCondition, GpuFault, GpuReading, HostGpu, Xid


class NoGpus:
    """See GpuLibrary."""

    def inventory(self) -> dict[str, HostGpu]:
        """Nothing."""
        return {}

    def sample(self, uuid: str) -> GpuReading:
        """Raises GpuFault."""
        raise GpuFault(f"this host has no GPU {uuid}")

    def condition(self, uuid: str) -> GpuCondition:
        """Raises GpuFault."""
        raise GpuFault(f"this host has no GPU {uuid}")

    def next_xid(self, timeout: float) -> Xid | None:
        """None, after `timeout` seconds."""
        time.sleep(timeout)
        return None
