"""The device nodes that a program needs to use one GPU, or one MIG slice, and no other."""

from __future__ import annotations

from pathlib import Path

#: Devices that every CUDA program needs beside its GPU's own.
SHARED_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_CAPABILITIES = Path("/proc/driver/nvidia/capabilities")


def gpu_nodes(minor: int) -> tuple[str, ...]:
    """Of the whole GPU with this minor number."""
    return (f"/dev/nvidia{minor}", *(node for node in SHARED_DEVICES if Path(node).exists()))


def mig_nodes(
    minor: int, gpu_instance: int, compute_instance: int, capabilities: Path = _CAPABILITIES
) -> tuple[str, ...]:
    """Of one MIG slice: the card's own node, and the two that open this slice alone.

    Raises OSError, ValueError if the driver does not name them.
    """
    folder = capabilities / f"gpu{minor}" / "mig" / f"gi{gpu_instance}"
    opens = (folder / "access", folder / f"ci{compute_instance}" / "access")
    return (*gpu_nodes(minor), *(f"/dev/nvidia-caps/nvidia-cap{_minor_in(file)}" for file in opens))


def _minor_in(access: Path) -> int:
    for line in access.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "DeviceFileMinor":
            return int(value)
    raise ValueError(f"{access} names no device")
