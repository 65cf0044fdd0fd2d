"""An execution's input: from the log or the blob store, whole, and nobody can change it."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hermes.domain.ids import new_id
from hermes.domain.resources import Input, Position
from hermes.errors import InvalidInput, LogError, LogUnavailable, NotFound
from infra.blobs import BlobStore
from streams.agent import stdin
from streams.agent.stdin import InputSource
from streams.output import MAX_CHUNK, Stream, headers
from tests.integration.log.conftest import Pool

PARTITION = 1


async def put(
    pool: Pool,
    execution_id: str,
    data: bytes,
    stream: Stream = "stdin",
    chunk: int = MAX_CHUNK,
) -> Input:
    """Append an input as the API does."""
    first: Position | None = None
    for seq, offset in enumerate(range(0, len(data), chunk)):
        position = await pool.writer.acknowledged(
            await pool.writer.send(
                pool.output,
                execution_id,
                data[offset : offset + chunk],
                partition=PARTITION,
                headers=headers(
                    attempt=0,
                    seq=seq,
                    stream=stream,
                    offset=offset,
                    time="2026-01-01T00:00:00.000000Z",
                    after=0,
                ),
            )
        )
        first = first or position
    return Input(bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), position=first)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path / "blobs"))


@pytest.fixture
async def inputs(pool: Pool, blobs: BlobStore, tmp_path: Path) -> AsyncIterator[InputSource]:
    source = InputSource(pool.settings.bootstrap, blobs, tmp_path)
    yield source
    await source.close()


@asynccontextmanager
async def opened(inputs: InputSource, execution_id: str, source: Input) -> AsyncIterator[int]:
    given = inputs.open(execution_id, source)
    try:
        await given.arrived()
        yield given.fd
    finally:
        await given.close()


def everything(fd: int) -> bytes:
    found = b""
    while piece := os.read(fd, 1 << 20):
        found += piece
    return found


async def test_a_small_input_is_read_whole_and_from_its_start(
    pool: Pool, inputs: InputSource
) -> None:
    data = os.urandom(3 * MAX_CHUNK + 17)
    execution_id = new_id()
    source = await put(pool, execution_id, data)
    async with opened(inputs, execution_id, source) as fd:
        assert everything(fd) == data


async def test_an_input_cannot_be_changed_through_its_descriptor(
    pool: Pool, inputs: InputSource
) -> None:
    execution_id = new_id()
    source = await put(pool, execution_id, b"keep me")
    async with opened(inputs, execution_id, source) as fd:
        for harm in (
            lambda: os.write(fd, b"x"),
            lambda: os.ftruncate(fd, 0),
            lambda: os.ftruncate(fd, 100),
            lambda: mmap.mmap(fd, 7, mmap.MAP_SHARED, mmap.PROT_WRITE),
        ):
            with pytest.raises(PermissionError):
                harm()
        reopened = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        try:
            with pytest.raises(PermissionError):
                os.write(reopened, b"x")
        finally:
            os.close(reopened)
        assert os.get_inheritable(fd) is False
        os.lseek(fd, 0, os.SEEK_SET)
        assert everything(fd) == b"keep me"


async def test_what_stands_between_is_not_read(pool: Pool, inputs: InputSource) -> None:
    """Other executions' inputs, output, and an input that a retried request appended again."""
    mine, other = new_id(), new_id()
    data = b"0123456789"
    first = await put(pool, mine, data[:4])
    await put(pool, other, b"OTHER")
    await put(pool, mine, b"OUT!", stream="stdout")
    await put(pool, mine, data, chunk=4)
    await put(pool, mine, data, chunk=4)
    source = Input(bytes=10, sha256=hashlib.sha256(data).hexdigest(), position=first.position)
    async with opened(inputs, mine, source) as fd:
        assert everything(fd) == data


async def test_no_input_is_empty(inputs: InputSource) -> None:
    empty = Input(bytes=0, sha256=hashlib.sha256(b"").hexdigest())
    async with opened(inputs, new_id(), empty) as fd:
        assert everything(fd) == b""


async def test_a_large_input_comes_from_its_blob_and_leaves_no_file(
    inputs: InputSource, blobs: BlobStore, tmp_path: Path
) -> None:
    data = os.urandom(2 << 20)
    sha256 = await blobs.put_bytes(data)
    async with opened(inputs, new_id(), Input(bytes=len(data), sha256=sha256, blob=sha256)) as fd:
        assert [one.name for one in tmp_path.iterdir()] == ["blobs"]
        assert everything(fd) == data
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")


async def test_a_missing_blob_is_not_found(inputs: InputSource, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        async with opened(inputs, new_id(), Input(bytes=5, sha256="a" * 64, blob="a" * 64)):
            pass
    assert not [one for one in tmp_path.iterdir() if one.name != "blobs"]


async def test_an_input_that_is_not_in_the_log_is_told_and_does_not_hold_up_the_others(
    pool: Pool, inputs: InputSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdin, "PATIENCE", 0.5)
    mine, other = new_id(), new_id()
    good = await put(pool, mine, b"here")
    assert good.position is not None
    with pytest.raises(LogUnavailable):
        async with opened(inputs, other, Input(bytes=4, sha256="b" * 64, position=good.position)):
            pass
    beyond = Position(good.position.topic, good.position.partition, 1_000_000)
    with pytest.raises(LogError):
        async with opened(inputs, other, Input(bytes=4, sha256="b" * 64, position=beyond)):
            pass
    async with opened(inputs, mine, good) as fd:
        assert everything(fd) == b"here"


async def test_bytes_that_were_not_sent_are_refused(pool: Pool, inputs: InputSource) -> None:
    """Somebody else appended under the same id in between."""
    execution_id = new_id()
    source = await put(pool, execution_id, b"mine")
    forged = Input(bytes=4, sha256=hashlib.sha256(b"ours").hexdigest(), position=source.position)
    with pytest.raises(InvalidInput):
        async with opened(inputs, execution_id, forged):
            pass


async def test_an_input_given_up_before_it_arrived_leaves_nothing(
    inputs: InputSource, tmp_path: Path
) -> None:
    given = inputs.open(new_id(), Input(bytes=5, sha256="a" * 64, blob="a" * 64))
    await given.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(given.fd)
    assert not [one for one in tmp_path.iterdir() if one.name != "blobs"]
