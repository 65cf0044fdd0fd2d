"""The pipe that is filled when its program starts."""

from __future__ import annotations

import asyncio
import os

from infra.sandbox.late_input import LateInput


def file_of(content: bytes) -> int:
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def read_all(fd: int) -> bytes:
    content = b""
    while piece := await asyncio.to_thread(os.read, fd, 65536):
        content += piece
    return content


async def test_more_than_the_pipe_holds_goes_on_beside_the_loop() -> None:
    content = os.urandom(3_000_000)
    late, source = LateInput(None), file_of(content)
    late.fill(source)
    assert late.write >= 0, "it did not fit in at once"
    assert await asyncio.wait_for(read_all(late.read), 10) == content
    assert late.write == -1
    late.close()
    os.close(source)


async def test_what_fits_in_is_there_at_once_with_its_end() -> None:
    late, source = LateInput(None), file_of(b"x" * 60_000)
    late.fill(source)
    assert late.write == -1
    assert os.read(late.read, 100_000) == b"x" * 60_000
    assert os.read(late.read, 1) == b""
    late.close()
    os.close(source)


async def test_no_input_is_an_end() -> None:
    late = LateInput(None)
    late.fill(None)
    assert os.read(late.read, 1) == b""
    late.close()


async def test_a_program_that_goes_away_or_a_close_in_between_harms_nothing() -> None:
    source = file_of(os.urandom(3_000_000))
    gone, closed = LateInput(None), LateInput(None)
    gone.fill(source)
    gone.close_read()
    os.lseek(source, 0, os.SEEK_SET)
    closed.fill(source)
    closed.close()
    async with asyncio.timeout(5):
        while gone.write >= 0:
            await asyncio.sleep(0.01)
    gone.close()
    os.close(source)
