"""Archives read in a process of their own, as servers do."""

from __future__ import annotations

import asyncio
import gzip
import os
from pathlib import Path

import psutil
import pytest

from hermes.packages.archive import unpack, validate
from hermes.packages.archive_limits import ArchiveLimits
from hermes.packages.errors import ArchiveError, ConfigError
from hermes.packages.unpack_process import (
    UnpackFault,
    unpack_in_subprocess,
    validate_in_subprocess,
)
from tests.support.archives import END, block, config_bytes, function_archive, function_blocks


def archive(folder: Path, data: bytes) -> Path:
    path = folder / "source.tar.gz"
    path.write_bytes(data)
    return path


async def test_the_process_gives_the_same_answers(tmp_path: Path) -> None:
    source = archive(tmp_path, function_archive(block("x", b"1")))
    assert await validate_in_subprocess(source) == validate(source)
    package = await unpack_in_subprocess(source, tmp_path / "out")
    assert package == unpack(source, tmp_path / "same")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "Makefile",
        "hermes.config.json",
        "x",
    }


async def test_refusals_come_back_with_their_problems(tmp_path: Path) -> None:
    source = archive(tmp_path, function_archive(block("../x"), block("/y")))
    with pytest.raises(ArchiveError) as refused:
        await unpack_in_subprocess(source, tmp_path / "out")
    assert [problem.field for problem in refused.value.problems] == ["../x", "/y"]
    archive(tmp_path, function_archive(config=config_bytes(language="c")))
    with pytest.raises(ConfigError) as wrong:
        await validate_in_subprocess(source)
    assert [problem.field for problem in wrong.value.problems] == ["language"]
    assert [path.name for path in tmp_path.iterdir()] == ["source.tar.gz"]


async def test_an_archive_that_takes_too_long_is_refused_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    blocks = [block(f"d{number}/x", bytes(2000)) for number in range(5000)]
    source = archive(tmp_path, gzip.compress(function_blocks(*blocks) + END, 1))
    generous = ArchiveLimits(packed=1 << 30, unpacked=1 << 30, entries=100_000)
    with pytest.raises(ArchiveError, match="longer than"):
        await unpack_in_subprocess(source, tmp_path / "out", generous, timeout=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["source.tar.gz"]


async def test_a_cancelled_reading_leaves_no_process_and_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    writer = os.open(tmp_path / "endless", os.O_RDWR)
    try:
        reading = asyncio.create_task(unpack_in_subprocess(tmp_path / "endless", tmp_path / "out"))
        await asyncio.sleep(0.5)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    finally:
        os.close(writer)
    assert [path.name for path in tmp_path.iterdir()] == ["endless"]


async def test_the_process_is_confined_before_it_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    writer = os.open(tmp_path / "endless", os.O_RDWR)
    reading = asyncio.create_task(validate_in_subprocess(tmp_path / "endless"))
    try:
        async with asyncio.timeout(10):
            while not (limits := _limits_of_a_confined_child()):
                await asyncio.sleep(0.02)
        assert limits["Max core file size"] == "0"
        assert limits["Max cpu time"] == "30"
        assert int(limits["Max address space"]) <= 1 << 30
        assert int(limits["Max file size"]) <= 256 << 20
        assert int(limits["Max open files"]) == 64
        assert limits["Uid"] == str(65534 if os.geteuid() == 0 else os.geteuid())
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        os.close(writer)


def _limits_of_a_confined_child() -> dict[str, str]:
    """The hard limits and the user of a child that waits in read, {} while there is none."""
    for child in psutil.Process().children():
        folder = Path("/proc") / str(child.pid)
        lines = (folder / "limits").read_text().splitlines()
        limits = {line[:26].strip(): line[47:].split()[0] for line in lines}
        if limits["Max open files"] == "64" and child.status() == psutil.STATUS_SLEEPING:
            return limits | {"Uid": str(child.uids().effective)}
    return {}


async def test_a_fault_of_the_process_is_ours_and_not_the_senders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = archive(tmp_path, function_archive())
    monkeypatch.setattr("hermes.packages.unpack_process._WORKER", "hermes.packages.no_such_worker")
    with pytest.raises(UnpackFault, match="no_such_worker"):
        await validate_in_subprocess(source)


async def test_the_process_does_not_see_the_servers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_DATABASE", "postgresql://secret")
    monkeypatch.setattr("hermes.packages.unpack_process._WORKER", "tests.support.print_environment")
    with pytest.raises(UnpackFault) as caught:
        await validate_in_subprocess(archive(tmp_path, b""))
    assert "PYTHONPATH" in str(caught.value)
    assert "secret" not in str(caught.value)
