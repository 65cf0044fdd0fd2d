"""What an execution may use, and what it asks for."""

from __future__ import annotations

from typing import Annotated

import msgspec

# Bounds hold for what is read from outside; nothing that a stranger wrote may overflow a snapshot
# or a view.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]

MIB = 1024 * 1024
GIB = 1024 * MIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one execution: seconds, bytes, cores, bytes per stream, processes."""

    time: Amount = 600.0
    memory: Count = GIB
    cpus: Amount = 1.0
    output: Count = 10 * MIB
    processes: Count = 256


class GpuRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs an execution asks for: how many, and what each must have at least."""

    count: Positive = 1
    memory: Count | None = None
    name: str | None = None
    compute_capability: str | None = None


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as its agent's inventory names it."""

    uuid: str
    name: str
    memory: Count
    compute_capability: str
    driver: str


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent brings to its pool."""

    slots: Count
    cpus: Amount
    memory: Count
    gpus: tuple[Gpu, ...] = ()
    sandbox: str = ""
    toolchains: tuple[str, ...] = ()
    version: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one execution used: seconds, bytes, joules; `gpu_*` are None without a GPU."""

    wall_time: Amount
    cpu_time: Amount
    peak_memory: Count | None
    output_bytes: Count
    gpu_time: Amount | None = None
    gpu_peak_memory: Count | None = None
    gpu_utilisation: Amount | None = None
    gpu_energy: Amount | None = None


class StreamDigest(msgspec.Struct, frozen=True, kw_only=True):
    """How long a stream was and its SHA-256 in hex."""

    bytes: Count
    sha256: str


class Position(msgspec.Struct, frozen=True, order=True):
    """Where an event stands in the log."""

    topic: str
    partition: Count
    offset: Count

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """An input: its size and SHA-256, and where its bytes are: in the output topic (at most
    1 MiB, `position` of its first record) or in the blob named by `sha256`. Both None: empty."""

    bytes: Count
    sha256: str
    position: Position | None = None
    blob: str | None = None
