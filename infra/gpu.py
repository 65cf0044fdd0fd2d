"""The GPUs of this host, by NVML, and how one is given to a single sandbox.

A GPU is locked on its host by an `flock` whose descriptor the sandbox's outer process holds, so it
is free exactly when the sandbox is gone, whether its agent lives or not.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import msgspec

from hermes.domain.resources import GIB, Gpu
from hermes.errors import ServerFault

#: Devices that every CUDA program needs beside its GPU's own.
SHARED_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_LOCKS = Path("/run/lock")
# Anybody may write to the folder, also links to what only we may write.
_LOCK = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class GpuBusy(ServerFault):
    """The GPU is still held by an earlier sandbox"""


class HostGpu(msgspec.Struct, frozen=True):
    """A GPU and its device nodes."""

    gpu: Gpu
    devices: tuple[str, ...]


def discover() -> dict[str, HostGpu]:
    """By UUID; empty where there is no driver."""
    try:
        import pynvml  # noqa: PLC0415 - only GPU hosts have the library's driver

        pynvml.nvmlInit()
    except Exception:
        return {}
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        found = {}
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
            node = f"/dev/nvidia{pynvml.nvmlDeviceGetMinorNumber(handle)}"
            gpu = Gpu(
                uuid=uuid,
                name=_text(pynvml.nvmlDeviceGetName(handle)),
                memory=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                compute_capability=f"{major}.{minor}",
                driver=driver,
            )
            found[uuid] = HostGpu(gpu, (node, *(d for d in SHARED_DEVICES if Path(d).exists())))
        return found
    except pynvml.NVMLError:
        return {}
    finally:
        pynvml.nvmlShutdown()


def fake_gpus(count: int) -> dict[str, HostGpu]:
    """GPUs that only say so, for tests of scheduling: no device stands behind them."""
    return {
        (uuid := f"GPU-fake-{os.getpid()}-{index}"): HostGpu(
            Gpu(
                uuid=uuid,
                name="Fake GPU",
                memory=16 * GIB,
                compute_capability="9.0",
                driver="fake",
            ),
            (),
        )
        for index in range(count)
    }


def lock(uuid: str) -> int:
    """The descriptor that holds the GPU until its last copy is closed. Raises GpuBusy."""
    folder = _LOCKS if _LOCKS.is_dir() else Path(tempfile.gettempdir())
    fd = os.open(folder / f"hermes-{uuid}", _LOCK, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise GpuBusy(f"GPU {uuid} is still held by an earlier sandbox") from None
    return fd


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
