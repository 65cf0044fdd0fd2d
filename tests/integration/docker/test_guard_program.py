"""The guard is compiled once, by the host or in the image that builds run in."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from infra.engine import connect
from infra.sandbox.docker import guard_program as made_by
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.docker.compile_in_image import compile_in_image
from infra.sandbox.docker.guard_program import guard_program
from infra.sandbox.port import SandboxError
from infra.toolchain.model import Toolchain

_INTERPRETER = 3  # the kind of segment that names the loader of libraries


def segments(elf: bytes) -> set[int]:
    """Kinds of the segments of a program."""
    (start,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return {struct.unpack_from("<I", elf, start + size * at)[0] for at in range(count)}


def check(program: Path) -> None:
    assert program.stat().st_mode & 0o777 == 0o755
    assert subprocess.run([program], check=False).returncode == 2, "it wants a socket"
    assert subprocess.run([program, "/missing", "--", "x"], check=False).returncode == 1
    assert _INTERPRETER not in segments(program.read_bytes()), "it needs no libraries"


async def test_it_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = await guard_program(None, tmp_path)
    check(program)
    monkeypatch.setattr(made_by, "_compile", None)
    assert await guard_program(None, tmp_path) == program
    assert list(tmp_path.iterdir()) == [program]


async def test_a_host_without_a_compiler_has_it_compiled_in_the_image(
    tmp_path: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_by.shutil, "which", lambda _: None)
    with pytest.raises(SandboxError, match="no C compiler"):
        await guard_program(None, tmp_path)
    async with await connect() as client:
        check(await guard_program(compile_in_image(client, toolchain.build_image), tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


async def test_without_an_engine_there_are_no_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/missing")
    sandbox = DockerSandbox("nobody")
    with pytest.raises(SandboxError, match="no engine"):
        await sandbox.open()
    assert await sandbox.reap(()) == []
    await sandbox.close()
