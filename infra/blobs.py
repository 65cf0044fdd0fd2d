"""Large bytes by content: blobs named by their SHA-256, in a folder or any object store."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, from_url

from hermes.errors import InvalidInput, NotFound, Unavailable

PIECE = 1024 * 1024


class BlobStore:
    """Content-addressed: putting twice is harmless, getting checks nothing that the name says.

    Every method raises Unavailable when the store cannot be reached.
    """

    def __init__(self, where: str) -> None:
        """`where` is a folder (made if missing) or a URL that obstore knows, such as s3://bucket."""
        self._folder = None if "://" in where else Path(where)
        if self._folder is None:
            self._store: Any = from_url(where)
        else:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._store = LocalStore(prefix=where)

    async def exists(self, sha256: str) -> bool:
        """Whether the blob is there."""
        try:
            await self.size(sha256)
        except NotFound:
            return False
        return True

    async def size(self, sha256: str) -> int:
        """The blob's size in bytes. Raises NotFound."""
        path = _blob_path(sha256)
        with _faults(path):
            return int((await obstore.head_async(self._store, path))["size"])

    async def put_file(self, path: Path, sha256: str) -> None:
        """Store the file, whose SHA-256 the caller has computed."""
        if not await self.exists(sha256):
            await self._put(_blob_path(sha256), path)

    async def put_bytes(self, data: bytes) -> str:
        """Store small bytes; returns their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not await self.exists(sha256):
            await self._put(_blob_path(sha256), data)
        return sha256

    async def put_named(self, name: str, data: bytes) -> None:
        """Store, or replace at once, what has a name of its own; `name` is a relative path."""
        await self._put(f"named/{name}", data)

    async def get_named(self, name: str) -> bytes | None:
        """What `put_named` stored last under this name, or None."""
        path = f"named/{name}"
        try:
            with _faults(path):
                found = await obstore.get_async(self._store, path)
                return bytes(await found.bytes_async())
        except NotFound:
            return None

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """The blob in pieces. Raises NotFound."""
        path = _blob_path(sha256)
        with _faults(path):
            found = await obstore.get_async(self._store, path)
            async for piece in found.stream(min_chunk_size=PIECE):
                yield bytes(piece)

    async def fetch(self, sha256: str, target: Path) -> None:
        """Write the blob to `target` and check its SHA-256. Raises NotFound, InvalidInput."""
        digest = hashlib.sha256()
        with target.open("wb") as out:
            async for piece in self.stream(sha256):
                digest.update(piece)
                out.write(piece)
        if digest.hexdigest() != sha256:
            target.unlink()  # noqa: ASYNC240 - an instant
            raise InvalidInput(f"blob {sha256} does not have that SHA-256")

    async def _put(self, path: str, data: bytes | Path) -> None:
        with _faults(path):
            await obstore.put_async(self._store, path, data)
            if self._folder is not None:
                # The log is flushed before it is acknowledged; what it names must be as safe.
                await asyncio.to_thread(_flush, self._folder / path)


def _blob_path(sha256: str) -> str:
    if len(sha256) != 64 or any(c not in "0123456789abcdef" for c in sha256):
        raise InvalidInput(f"{sha256[:80]!r} is not a SHA-256 in lower-case hex")
    return f"sha256/{sha256[:2]}/{sha256}"


@contextmanager
def _faults(path: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError):
        raise NotFound(f"no blob {path.rpartition('/')[2]}") from None
    except (BaseError, OSError) as error:
        raise Unavailable(f"the blob store: {error}") from error


def _flush(path: Path) -> None:
    """Have the disk hold the file and the names that lead to it."""
    for one in (path, path.parent, path.parent.parent):
        fd = os.open(one, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
