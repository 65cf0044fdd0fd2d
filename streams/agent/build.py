"""A build: unpack the source, `make clean` and `make` in a sandbox, judge and keep the result."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hermes.domain.execution import ExecutionState
from hermes.packages.archive import UnpackedPackage
from hermes.packages.artifact import pack_artifact
from hermes.packages.unpack_process import unpack_in_subprocess
from infra.blobs import BlobStore
from infra.sandbox.artifact import inspect_build, take_over

SCRIPT = """
if make clean; then :; else
    code=$?
    echo "hermes: 'make clean' failed; start its recipes with '-' (as in '-rm') to go on" >&2
    exit $code
fi
exec make
"""
BUILD_ARGV = ("/bin/sh", "-c", SCRIPT)


async def fetch_source(blobs: BlobStore, sha256: str, folder: Path) -> UnpackedPackage:
    """Unpack the source into `folder`/source. Raises NotFound, ArchiveError, ConfigError."""
    archive = folder / "source.tar.gz"
    await blobs.fetch(sha256, archive)
    package = await unpack_in_subprocess(archive, folder / "source")
    archive.unlink()
    return package


async def keep_artifact(
    execution: ExecutionState, work: Path, blobs: BlobStore, spool: Path
) -> str:
    """Judge what `make` left in `work`, archive it and store the archive; returns its SHA-256.

    Raises BuildRefused or ArchiveError with a sentence for the user.
    """
    with tempfile.TemporaryDirectory(dir=spool) as staging:
        built = Path(staging) / "built"
        archive = Path(staging) / "artifact"
        sha256 = await asyncio.to_thread(_pack, work, execution.handler, built, archive)
        await blobs.put_file(archive, sha256)
    return sha256


def _pack(work: Path, handler: str, built: Path, archive: Path) -> str:
    inspect_build(work, handler)
    take_over(work, built)
    with archive.open("wb") as out:
        return pack_artifact(built, out).sha256
