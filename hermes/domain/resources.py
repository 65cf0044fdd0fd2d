"""What an execution may use, and what it asks for."""

from __future__ import annotations

import msgspec

MIB = 1024 * 1024
GIB = 1024 * MIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one execution: seconds, bytes, cores, bytes per stream, processes."""

    time: float = 600.0
    memory: int = GIB
    cpus: float = 1.0
    output: int = 10 * MIB
    processes: int = 256


class GpuRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs an execution asks for: how many, and what each must have at least."""

    count: int = 1
    memory: int | None = None
    name: str | None = None
    compute_capability: str | None = None


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as its agent's inventory names it."""

    uuid: str
    name: str
    memory: int
    compute_capability: str
    driver: str


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent brings to its pool."""

    slots: int
    cpus: float
    memory: int
    gpus: tuple[Gpu, ...] = ()
    sandbox: str = ""
    toolchains: tuple[str, ...] = ()
    version: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one execution used: seconds, bytes, joules; `gpu_*` are None without a GPU."""

    wall_time: float
    cpu_time: float
    peak_memory: int | None
    output_bytes: int
    gpu_time: float | None = None
    gpu_peak_memory: int | None = None
    gpu_utilisation: float | None = None
    gpu_energy: float | None = None


class StreamDigest(msgspec.Struct, frozen=True, kw_only=True):
    """How long a stream was and its SHA-256 in hex."""

    bytes: int
    sha256: str


class Position(msgspec.Struct, frozen=True, order=True):
    """Where an event stands in the log."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """An input: its size and SHA-256, and where its bytes are: in the output topic (at most
    1 MiB, `position` of its first record) or in the blob named by `sha256`. Both None: empty."""

    bytes: int
    sha256: str
    position: Position | None = None
    blob: str | None = None
