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
    """A GPU as its agent's inventory names it. A MIG slice is one by itself, under its own UUID:
    `mig` is then its profile (as "1g.10gb") and `parent` the UUID of the card that it is part of.
    """

    uuid: str
    name: str
    memory: Count
    compute_capability: str
    driver: str
    mig: str | None = None
    parent: str | None = None


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent brings to its pool."""

    slots: Count
    cpus: Amount
    memory: Count
    gpus: tuple[Gpu, ...] = ()
    sandbox: str = ""
    toolchains: tuple[str, ...] = ()
    version: str = ""


MAX_GPU_SAMPLES = 60
"""As many points as an agent writes of one attempt, however long it ran; a longer one has the
same number of points, each the mean of a longer time."""


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt's GPUs at one time: seconds since its start, the mean share of the time since the
    point before in which they were busy (0 to 1), bytes and watts of all of them together."""

    time: Amount
    utilisation: Amount
    memory: Count
    power: Amount | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one execution used: seconds, bytes, joules, and utilisation from 0 to 1; `gpu_*` are
    None without a GPU, or where nothing could be measured. `gpu_samples` rise in time, at most
    MAX_GPU_SAMPLES of them."""

    wall_time: Amount
    cpu_time: Amount
    peak_memory: Count | None
    output_bytes: Count
    gpu_time: Amount | None = None
    gpu_peak_memory: Count | None = None
    gpu_utilisation: Amount | None = None
    gpu_energy: Amount | None = None
    gpu_samples: tuple[GpuSample, ...] | None = None


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
