"""Run programs in a real sandbox and collect what comes out, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from infra.sandbox.port import MIB, Prepared, Sandbox, SandboxExit, SandboxLimits, SandboxSpec

ATTACKS = Path(__file__).parent.parent / "attacks"
LIMITS = SandboxLimits(
    time=8.0,
    memory=128 * MIB,
    cpus=1.0,
    output=MIB,
    processes=32,
    work_bytes=32 * MIB,
    work_files=1000,
    file_bytes=64 * MIB,
)
CONTROL_GROUPS = Path("/sys/fs/cgroup")


class Outcome(msgspec.Struct, frozen=True):
    """How a program ended and what it wrote."""

    exit: SandboxExit
    stdout: bytes
    stderr: bytes

    @property
    def steps(self) -> dict[str, str]:
        """The lines `step=result` of the attack programs."""
        lines = self.stdout.decode("utf-8", "replace").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


def compile_attacks(folder: Path) -> Path:
    """Compile tests/attacks/*.c into `folder`; readable for every user, as functions are."""
    compilers = [
        subprocess.Popen(["gcc", "-O1", "-w", "-pthread", "-o", str(folder / source.stem), source])
        for source in ATTACKS.glob("*.c")
    ]
    assert all(compiler.wait(60) == 0 for compiler in compilers)
    folder.chmod(0o755)
    return folder


class Runner:
    """Runs programs in `sandbox`, one name after the other."""

    def __init__(self, sandbox: Sandbox, functions: Path) -> None:
        self.sandbox = sandbox
        self.functions = functions
        self._count = 0

    def spec(self, *argv: str, limits: dict[str, Any] | None = None, **fields: Any) -> SandboxSpec:
        """A spec with small limits; `argv[0]` without a slash is one of the attack programs."""
        self._count += 1
        program = argv[0] if "/" in argv[0] else f"/fn/{argv[0]}"
        base = SandboxSpec(
            name=f"test-{os.getpid()}-{self._count}-1",
            argv=(program, *argv[1:]),
            kind="run",
            function_dir=self.functions,
            stdin=0,
            limits=msgspec.structs.replace(LIMITS, **(limits or {})),
        )
        return msgspec.structs.replace(base, **fields)

    async def run(
        self,
        *argv: str,
        stdin: bytes = b"",
        during: Callable[[Prepared], Awaitable[None]] | None = None,
        **fields: Any,
    ) -> Outcome:
        """Prepare, go, read everything, wait, close. `during` runs beside the program."""
        reader, writer = os.pipe()
        try:
            prepared = await self.sandbox.prepare(self.spec(*argv, **{"stdin": reader, **fields}))
            os.write(writer, stdin)
        finally:
            os.close(reader)
            os.close(writer)
        return await self.let_go(prepared, during)

    async def let_go(
        self, prepared: Prepared, during: Callable[[Prepared], Awaitable[None]] | None = None
    ) -> Outcome:
        """Go, read everything, wait, close."""
        outputs: dict[int, bytearray] = {prepared.stdout: bytearray(), prepared.stderr: bytearray()}
        try:
            for fd, output in outputs.items():
                asyncio.get_running_loop().add_reader(fd, _read, fd, output)
            prepared.go()
            if during:
                await during(prepared)
            ended = await asyncio.wait_for(prepared.wait(), 60)
            for fd, output in outputs.items():
                asyncio.get_running_loop().remove_reader(fd)
                while _read(fd, output):
                    pass
        finally:
            for fd in outputs:
                asyncio.get_running_loop().remove_reader(fd)
            await prepared.close()
        stdout, stderr = (bytes(output) for output in outputs.values())
        return Outcome(ended, stdout, stderr)


def _read(fd: int, output: bytearray) -> bool:
    try:
        chunk = os.read(fd, 1 << 20)
    except BlockingIOError:
        return False
    if not chunk:
        asyncio.get_running_loop().remove_reader(fd)
    output += chunk
    return bool(chunk)


def control_groups_of(owner: str) -> list[Path]:
    """Folders of sandboxes of `owner` that exist, in all hierarchies."""
    # Unlike a glob, a walk does not mind folders that vanish meanwhile.
    walk = os.walk(CONTROL_GROUPS)
    return [
        Path(folder, name)
        for folder, names, _ in walk
        if folder.endswith(f"/hermes/{owner}")
        for name in names
    ]


def programs_of(owner: str) -> set[int]:
    """Processes inside sandboxes of `owner` but for process 1 of each container."""
    found = set()
    for pid in members_of(owner):
        with contextlib.suppress(OSError):  # it went meanwhile
            if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/.hermes/guard\0"):
                found.add(pid)
    return found


async def until_a_program(owner: str, is_so: Callable[[int], bool], patience: float = 20.0) -> None:
    """Wait until `is_so` says so of one program's pid in sandboxes of `owner`."""
    async with asyncio.timeout(patience):
        while not any(map(is_so, programs_of(owner))):
            await asyncio.sleep(0.01)


def ignores(number: int) -> Callable[[int], bool]:
    """Of a pid: whether it ignores this signal."""
    return lambda pid: bool(_signals_of(pid, "SigIgn") >> (number - 1) & 1)


def catches(number: int) -> Callable[[int], bool]:
    """Of a pid: whether it has a handler for this signal."""
    return lambda pid: bool(_signals_of(pid, "SigCgt") >> (number - 1) & 1)


def _signals_of(pid: int, field: str) -> int:
    with contextlib.suppress(OSError):  # it went meanwhile
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1], 16)
    return 0


def is_named(name: str) -> Callable[[int], bool]:
    """Of a pid: whether its program has this name."""

    def is_so(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/comm").read_text() == f"{name}\n"
        except OSError:  # it went meanwhile
            return False

    return is_so


async def until_empty(owner: str, patience: float = 10.0) -> None:
    """Wait until no process is left in sandboxes of `owner`: a container's first may stay a bit."""
    async with asyncio.timeout(patience):
        while members_of(owner):
            await asyncio.sleep(0.05)


def members_of(owner: str) -> set[int]:
    """Processes inside sandboxes of `owner`."""
    found: set[int] = set()
    for group in control_groups_of(owner):
        with contextlib.suppress(OSError):  # it went meanwhile
            found |= {int(pid) for pid in (group / "cgroup.procs").read_text().split()}
    return found
