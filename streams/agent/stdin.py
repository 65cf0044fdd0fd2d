"""An execution's input as a descriptor that the program can only read."""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
from pathlib import Path

from hermes.domain.resources import Input
from hermes.errors import LogUnavailable, NotFound
from infra.blobs import BlobStore
from streams.log import PartitionReader
from streams.output import chunk

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
PATIENCE = 30.0


class InputSource:
    """Finds inputs: in the output topic (small), in the blob store (large), or nowhere (empty)."""

    def __init__(self, bootstrap: str, blobs: BlobStore, spool: Path) -> None:
        self._bootstrap = bootstrap
        self._blobs = blobs
        self._spool = spool
        self._readers: dict[tuple[str, int], PartitionReader] = {}
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}

    async def open(self, execution_id: str, source: Input) -> int:
        """A descriptor at the start of the input; the caller closes it. Raises NotFound,
        LogUnavailable."""
        if source.blob is not None:
            return await self._from_blob(source.blob)
        if source.position is not None and source.bytes:
            return _sealed(await self._from_log(execution_id, source))
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    async def close(self) -> None:
        """Disconnect."""
        for reader in self._readers.values():
            await reader.stop()

    async def _from_blob(self, sha256: str) -> int:
        handle, name = tempfile.mkstemp(dir=self._spool)
        os.close(handle)
        path = Path(name)
        try:
            await self._blobs.fetch(sha256, path)
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - an instant

    async def _from_log(self, execution_id: str, source: Input) -> bytes:
        position = source.position
        if position is None:
            raise NotFound("the input has no position")
        where = (position.topic, position.partition)
        async with self._locks.setdefault(where, asyncio.Lock()):
            reader = await self._reader(*where)
            reader.seek(position.offset)
            pieces: list[bytes] = []
            missing = source.bytes
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while missing > 0:
                for record in await reader.batch(most=64):
                    found = chunk(record)
                    if found is None or missing <= 0:
                        continue
                    # A retried request may have appended its input twice; each byte counts once.
                    if (found.execution_id, found.stream, found.offset) == (
                        execution_id,
                        "stdin",
                        source.bytes - missing,
                    ):
                        pieces.append(found.data)
                        missing -= len(found.data)
                if asyncio.get_running_loop().time() > deadline:
                    raise LogUnavailable(f"the input of {execution_id} could not be read")
            reader.rest()
        return b"".join(pieces)

    async def _reader(self, topic: str, partition: int) -> PartitionReader:
        reader = self._readers.get((topic, partition))
        if reader is None:
            reader = PartitionReader(self._bootstrap, topic, partition, max_wait_ms=5)
            await reader.start()
            self._readers[topic, partition] = reader
        return reader


def _sealed(data: bytes) -> int:
    """A memory file that nobody can change, not even who holds its descriptor."""
    fd = os.memfd_create("hermes-stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
