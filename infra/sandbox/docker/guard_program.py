"""The guard as a program: guard.c, compiled once per version of it into a folder of this host.

By the host's compiler, else by the one in the image that builds run in. It is static, so any image
can run it, and lies where programs may be run, which a host's /run often forbids.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from infra.sandbox import tree
from infra.sandbox.port import SandboxError

_SOURCE = Path(__file__).with_name("guard.c")
_FOLDER = Path("/var/lib/hermes-sandbox/guard")
_PATIENCE = 120.0  # seconds; it takes less than one
FLAGS = ("-static", "-Os", "-s", "-Wall")

CompileInImage = Callable[[Path, tuple[str, ...]], Awaitable[None]]


async def guard_program(in_image: CompileInImage | None, folder: Path = _FOLDER) -> Path:
    """The program's path. `in_image` runs a command in a folder of ours, shown at /work.

    Raises SandboxError where nothing compiles it.
    """
    digest = hashlib.sha256(_SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()
    program = folder / f"guard-{digest[:16]}"
    if program.is_file():
        return program
    try:
        tree.make_public(folder)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = await _compile(Path(place), in_image)
            made.chmod(0o755)
            made.replace(program)
    except OSError as error:
        raise SandboxError(f"cannot make the containers' guard: {error}") from error
    return program


async def _compile(place: Path, in_image: CompileInImage | None) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is not None:
        problem = await _by_host(compiler, place)
        if problem is None:
            return place / "guard"
    elif in_image is None:
        problem = "this host has no C compiler"
    if in_image is None:
        raise SandboxError(f"cannot make the containers' guard: {problem}")
    await asyncio.to_thread(shutil.copyfile, _SOURCE, place / _SOURCE.name)
    await in_image(place, ("gcc", *FLAGS, "-o", "/work/guard", f"/work/{_SOURCE.name}"))
    return place / "guard"


async def _by_host(compiler: str, place: Path) -> str | None:
    """None, or why it did not work: a host may have a compiler and no static C library."""
    process = await asyncio.create_subprocess_exec(
        compiler,
        *FLAGS,
        "-o",
        str(place / "guard"),
        str(_SOURCE),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "LC_ALL": "C"},
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{compiler} took longer than {_PATIENCE:.0f} s"
    if process.returncode == 0:
        return None
    return said.decode("utf-8", "replace").strip()[-500:] or f"{compiler} failed"
