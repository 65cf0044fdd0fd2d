"""An execution's input as a descriptor that the program can only read."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hermes.domain.resources import Input
from hermes.errors import InvalidInput, LogUnavailable, NotFound
from infra.blobs import BlobStore
from streams.log import PartitionReader
from streams.output import chunk

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
PATIENCE = 30.0


class ArrivingInput:
    """A descriptor that can be given to a sandbox at once; its bytes are there after `arrived`.

    So a sandbox is set up while its input is still on the way: the program reads nothing before it
    is let go.
    """

    def __init__(
        self, fd: int, arriving: Coroutine[Any, Any, None] | None = None, path: Path | None = None
    ) -> None:
        """`path` is a file that must not outlive the input."""
        self.fd = fd
        self._path = path
        self._arriving = asyncio.ensure_future(arriving) if arriving is not None else None

    async def arrived(self) -> None:
        """Until the whole input is there. Raises NotFound, InvalidInput, LogUnavailable, LogError,
        Unavailable."""
        if self._arriving is not None:
            await self._arriving

    async def close(self) -> None:
        """Give up what has not arrived, and close the descriptor."""
        if self._arriving is not None:
            self._arriving.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._arriving
        os.close(self.fd)
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class InputSource:
    """Finds inputs: in the output topic (small), in the blob store (large), or nowhere (empty)."""

    def __init__(self, bootstrap: str, blobs: BlobStore, spool: Path) -> None:
        self._bootstrap = bootstrap
        self._blobs = blobs
        self._spool = spool
        self._readers: dict[tuple[str, int], PartitionReader] = {}
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}

    def open(self, execution_id: str, source: Input) -> ArrivingInput:
        """The input, which the caller closes."""
        if source.blob is not None:
            handle, name = tempfile.mkstemp(dir=self._spool)
            os.close(handle)
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            path = Path(name)
            return ArrivingInput(fd, self._from_blob(source.blob, path), path)
        if source.bytes:
            fd = os.memfd_create("hermes-stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            return ArrivingInput(fd, self._from_log(execution_id, source, fd))
        return ArrivingInput(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))

    async def close(self) -> None:
        """Disconnect."""
        for reader in self._readers.values():
            await reader.stop()

    async def _from_blob(self, sha256: str, path: Path) -> None:
        try:
            await self._blobs.fetch(sha256, path)
        finally:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - an instant

    async def _from_log(self, execution_id: str, source: Input, fd: int) -> None:
        data = await self._read(execution_id, source)
        if hashlib.sha256(data).hexdigest() != source.sha256:
            raise InvalidInput("the input in the log does not have the SHA-256 it was sent with")
        _fill_and_seal(fd, data)

    async def _read(self, execution_id: str, source: Input) -> bytes:
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


def _fill_and_seal(fd: int, data: bytes) -> None:
    """Fill a memory file that nobody can change afterwards, not even who holds its descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
