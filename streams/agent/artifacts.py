"""Built functions on this host: unpacked once per SHA-256, within a budget, least recent out."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hermes.errors import NotFound
from hermes.packages.archive import unpack_artifact
from infra.blobs import BlobStore

BUDGET = 10 * 1024**3


class ArtifactCache:
    """Folders by content; a folder in use is never removed."""

    def __init__(self, folder: Path, blobs: BlobStore, budget: int = BUDGET) -> None:
        self._folder = folder
        self._blobs = blobs
        self._budget = budget
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._used: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def open(self) -> None:
        """Find what an earlier agent left, and drop what it left half done."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o755)
        for entry in self._folder.iterdir():
            if len(entry.name) == 64:
                self._sizes[entry.name] = _size(entry)
            else:
                shutil.rmtree(entry, ignore_errors=True)

    @asynccontextmanager
    async def hold(self, sha256: str) -> AsyncIterator[Path]:
        """The unpacked folder, kept while the block runs. Raises NotFound, InvalidInput."""
        release = self._use(sha256)
        try:
            if sha256 not in self._sizes:
                async with self._locks.setdefault(sha256, asyncio.Lock()):
                    if sha256 not in self._sizes:
                        await self._fetch(sha256)
            self._sizes.move_to_end(sha256)
            yield self._folder / sha256
        finally:
            release()

    def keep(self, sha256: str) -> Callable[[], None]:
        """Keep a folder that is here until what is returned is called, once. Raises NotFound."""
        if sha256 not in self._sizes:
            raise NotFound(f"the artifact {sha256} is not on this host")
        return self._use(sha256)

    def _use(self, sha256: str) -> Callable[[], None]:
        self._used[sha256] = self._used.get(sha256, 0) + 1

        def release() -> None:
            self._used[sha256] -= 1
            if not self._used[sha256]:
                del self._used[sha256]
                self._locks.pop(sha256, None)

        return release

    async def _fetch(self, sha256: str) -> None:
        staging = Path(tempfile.mkdtemp(prefix=".fetch-", dir=self._folder))
        try:
            archive = staging / "archive"
            await self._blobs.fetch(sha256, archive)
            unpacked = await asyncio.to_thread(unpack_artifact, archive, staging / "function")
            (staging / "function").rename(self._folder / sha256)
            (self._folder / sha256).chmod(0o755)
            self._sizes[sha256] = unpacked.bytes
        finally:
            await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        await self._evict()

    async def _evict(self) -> None:
        for sha256 in list(self._sizes):
            if sum(self._sizes.values()) <= self._budget:
                return
            if sha256 not in self._used:
                del self._sizes[sha256]
                # Out of the way at once: it may be fetched anew while it is being removed.
                evicted = Path(tempfile.mkdtemp(prefix=".evicted-", dir=self._folder))
                (self._folder / sha256).rename(evicted / "function")
                await asyncio.to_thread(shutil.rmtree, evicted, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
