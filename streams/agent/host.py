"""What an agent shares between its attempts: the log, the fold, blobs, the sandbox, caches."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hermes.domain.pool import Applied, PoolState
from hermes.settings import Settings
from infra.blobs import BlobStore
from infra.sandbox.port import Sandbox
from infra.toolchain.model import Toolchains
from streams.agent.artifacts import ArtifactCache
from streams.agent.gpu_keeper import GpuKeeper
from streams.agent.stdin import InputSource
from streams.fold import LogFold
from streams.log import LogWriter


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """See the module. `output_ends` has, per partition, an offset that the end has reached."""

    settings: Settings
    incarnation: str
    fold: LogFold[PoolState, Applied]
    events: LogWriter
    output: LogWriter
    output_topic: str
    output_ends: list[int]
    sandbox: Sandbox
    toolchains: Toolchains
    blobs: BlobStore
    artifacts: ArtifactCache
    inputs: InputSource
    spool: Path
    gpus: GpuKeeper

    def output_reached(self, partition: int, end: int) -> None:
        """The output partition reaches to `end` by now."""
        self.output_ends[partition] = max(self.output_ends[partition], end)

    @property
    def actor(self) -> str:
        """How this agent signs its events."""
        return f"agent:{self.settings.agent}"
