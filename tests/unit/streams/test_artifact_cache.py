"""Built functions on a host: fetched once, kept while used, removed when there are too many."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from pathlib import Path

import pytest

from hermes.errors import NotFound
from hermes.packages.artifact import pack_artifact
from infra.blobs import BlobStore
from streams.agent.artifacts import ArtifactCache

SIZE = 100_000


class CountingBlobs(BlobStore):
    """Counts what is fetched."""

    fetched = 0

    async def fetch(self, sha256: str, target: Path) -> None:
        self.fetched += 1
        await super().fetch(sha256, target)


@pytest.fixture
def blobs(tmp_path: Path) -> CountingBlobs:
    return CountingBlobs(str(tmp_path / "blobs"))


async def put(blobs: BlobStore, folder: Path, text: bytes) -> str:
    """An artifact of SIZE bytes that begin with `text`; its SHA-256."""
    built = folder / text.decode()
    built.mkdir()
    (built / "program").write_bytes(text.ljust(SIZE))
    (built / "program").chmod(0o755)
    archive = folder / f"{text.decode()}.archive"
    with archive.open("wb") as out:
        sha256 = pack_artifact(built, out).sha256
    await blobs.put_file(archive, sha256)
    return sha256


def cache_of(tmp_path: Path, blobs: BlobStore, artifacts: float = 100) -> ArtifactCache:
    cache = ArtifactCache(tmp_path / "cache", blobs, budget=int(artifacts * SIZE))
    cache.open()
    return cache


async def use(cache: ArtifactCache, sha256: str, text: bytes) -> None:
    async with cache.hold(sha256) as folder:
        await asyncio.sleep(0)
        assert (folder / "program").read_bytes().rstrip() == text


async def test_many_at_once_fetch_an_artifact_once(tmp_path: Path, blobs: CountingBlobs) -> None:
    sha256 = await put(blobs, tmp_path, b"one")
    cache = cache_of(tmp_path, blobs)
    await asyncio.gather(*(use(cache, sha256, b"one") for _ in range(8)))
    await use(cache_of(tmp_path, blobs), sha256, b"one")  # found again after a restart
    assert blobs.fetched == 1


async def test_a_missing_artifact_is_not_found_and_leaves_nothing(
    tmp_path: Path, blobs: CountingBlobs
) -> None:
    cache = cache_of(tmp_path, blobs)
    with pytest.raises(NotFound):
        async with cache.hold("a" * 64):
            pass
    assert list((tmp_path / "cache").iterdir()) == []


async def test_what_an_earlier_agent_left_half_done_is_dropped(
    tmp_path: Path, blobs: CountingBlobs
) -> None:
    half = tmp_path / "cache" / ".fetch-x" / "function"
    half.mkdir(parents=True)
    cache_of(tmp_path, blobs)
    assert list((tmp_path / "cache").iterdir()) == []


async def test_the_least_recently_used_makes_room(tmp_path: Path, blobs: CountingBlobs) -> None:
    one, two, three = [await put(blobs, tmp_path, text) for text in (b"one", b"two", b"three")]
    cache = cache_of(tmp_path, blobs, artifacts=2.5)
    await use(cache, one, b"one")
    await use(cache, two, b"two")
    await use(cache, one, b"one")
    await use(cache, three, b"three")
    assert sorted(entry.name for entry in (tmp_path / "cache").iterdir()) == sorted([one, three])


async def test_what_is_in_use_is_not_removed(tmp_path: Path, blobs: CountingBlobs) -> None:
    one, two = [await put(blobs, tmp_path, text) for text in (b"one", b"two")]
    cache = cache_of(tmp_path, blobs, artifacts=0.5)
    async with cache.hold(one) as folder:
        await use(cache, two, b"two")
        assert (folder / "program").exists()


async def test_an_artifact_may_be_wanted_again_while_it_is_being_removed(
    tmp_path: Path, blobs: CountingBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = [await put(blobs, tmp_path, text) for text in (b"one", b"two")]
    removing = threading.Event()
    real = shutil.rmtree

    def slow_rmtree(path: Path, **more: bool) -> None:
        if not path.name.startswith(".fetch-"):
            removing.set()
            time.sleep(0.2)
        real(path, **more)

    monkeypatch.setattr("streams.agent.artifacts.shutil.rmtree", slow_rmtree)
    cache = cache_of(tmp_path, blobs, artifacts=0.5)
    await use(cache, one, b"one")
    evicting = asyncio.create_task(use(cache, two, b"two"))
    await asyncio.to_thread(removing.wait, 5)
    await use(cache, one, b"one")
    await evicting


async def test_what_is_kept_by_a_lease_stays_until_it_is_given_back(
    tmp_path: Path, blobs: CountingBlobs
) -> None:
    cache = cache_of(tmp_path, blobs, artifacts=1)
    first, second = await put(blobs, tmp_path, b"first"), await put(blobs, tmp_path, b"second")
    with pytest.raises(NotFound):
        cache.keep(first)
    await use(cache, first, b"first")
    release = cache.keep(first)
    await use(cache, second, b"second")
    await use(cache, first, b"first")
    assert blobs.fetched == 2
    release()
    await use(cache, await put(blobs, tmp_path, b"third"), b"third")
    with pytest.raises(NotFound):
        cache.keep(first)
