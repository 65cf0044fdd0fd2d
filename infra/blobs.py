"""Large bytes by content: blobs named by their SHA-256, in a folder or any object store."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, from_url

from hermes.errors import InvalidInput, NotFound

PIECE = 1024 * 1024


class BlobStore:
    """Content-addressed: putting twice is harmless, getting checks nothing that the name says."""

    def __init__(self, where: str) -> None:
        """`where` is a folder (made if missing) or a URL that obstore knows, such as s3://bucket."""
        if "://" in where:
            self._store: Any = from_url(where)
        else:
            Path(where).mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(prefix=where)

    @staticmethod
    def _path(sha256: str) -> str:
        if len(sha256) != 64 or any(c not in "0123456789abcdef" for c in sha256):
            raise InvalidInput(f"{sha256[:80]!r} is not a SHA-256 in lower-case hex")
        return f"sha256/{sha256[:2]}/{sha256}"

    async def exists(self, sha256: str) -> bool:
        """Whether the blob is there."""
        try:
            await obstore.head_async(self._store, self._path(sha256))
        except (NotFoundError, FileNotFoundError):
            return False
        return True

    async def size(self, sha256: str) -> int:
        """The blob's size in bytes. Raises NotFound."""
        try:
            return int((await obstore.head_async(self._store, self._path(sha256)))["size"])
        except (NotFoundError, FileNotFoundError):
            raise NotFound(f"no blob {sha256}") from None

    async def put_file(self, path: Path, sha256: str) -> None:
        """Store the file, whose SHA-256 the caller has computed."""
        if not await self.exists(sha256):
            await obstore.put_async(self._store, self._path(sha256), path)

    async def put_bytes(self, data: bytes) -> str:
        """Store small bytes; returns their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not await self.exists(sha256):
            await obstore.put_async(self._store, self._path(sha256), data)
        return sha256

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """The blob in pieces. Raises NotFound."""
        try:
            found = await obstore.get_async(self._store, self._path(sha256))
        except (NotFoundError, FileNotFoundError):
            raise NotFound(f"no blob {sha256}") from None
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
