"""What is known of a host's GPUs. Sizes in bytes, power in watts, energy in joules."""

from __future__ import annotations

import msgspec

from hermes.domain.resources import Gpu
from hermes.errors import ServerFault


class GpuBusy(ServerFault):
    """The GPU is still held by an earlier sandbox"""


class GpuFault(ServerFault):
    """The GPU or its driver fails"""


class GpuHangs(GpuFault):
    """The GPU's driver does not answer"""


class NoDriver(GpuFault):
    """This host has no NVIDIA driver"""


class HostGpu(msgspec.Struct, frozen=True):
    """A GPU, or a slice of one in MIG mode, and its device nodes.

    `instance` is the number of a slice's GPU instance on its card.
    """

    gpu: Gpu
    devices: tuple[str, ...]
    instance: int | None = None


class GpuReading(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a GPU; None is what it does not tell (a MIG slice knows its memory only).

    `utilisation` is between 0 and 1, `energy` a counter that only rises while the driver is loaded.
    """

    memory: int
    utilisation: float | None = None
    power: float | None = None
    energy: float | None = None


class GpuCondition(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver says of a GPU's health.

    `processes` are those that compute on it now. `uncorrected` counts memory errors that ECC could
    not correct since the driver was loaded. `needs` is what the driver asks for before further use
    ("a reset"); `tells_needs` is whether this driver and GPU can tell.
    """

    processes: tuple[int, ...] = ()
    uncorrected: int = 0
    needs: str | None = None
    tells_needs: bool = False


class Xid(msgspec.Struct, frozen=True):
    """An error that the driver reported of a GPU, and of which of its MIG slices (None: all)."""

    uuid: str
    code: int
    instance: int | None = None

    def concerns(self, gpu: HostGpu) -> bool:
        """Whether it was reported of this GPU, or of the card that it is a slice of."""
        if self.uuid == gpu.gpu.uuid:
            return True
        return self.uuid == gpu.gpu.parent and self.instance in (None, gpu.instance)
