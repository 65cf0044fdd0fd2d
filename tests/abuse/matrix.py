"""Every attack in every enclosure: what is expected of each cell, and the run of the cells."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import msgspec

from infra.engine import EngineUnavailable
from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.docker.adapter import DockerSandbox
from infra.toolchain.model import ToolchainMissing
from tests.abuse.attack import CONTROLS, Attack, Enclosure, drive
from tests.abuse.builds import BUILDS
from tests.abuse.enclosures import Enclosed, PlainBubblewrap, PlainContainer, remove_images_of
from tests.abuse.runs import RUNS
from tests.support.sandboxes import ATTACKS as SHARED
from tests.support.toolchain_images import ensure_toolchain_images

ATTACKS = (*RUNS, *BUILDS)
SANDBOXES = ("bubblewrap", "docker")
ENCLOSURES = (*SANDBOXES, *sorted(CONTROLS, reverse=True))
PROGRAMS = Path(__file__).parent / "programs"
_AT_A_TIME = 2

Cell = tuple[str, str]  # an attack's name, an enclosure's


class Verdict(msgspec.Struct, frozen=True):
    """`through` is what the attack achieved; `expected` whether just that was to happen."""

    through: list[str]
    expected: bool


def cells() -> list[Cell]:
    """All that are tried."""
    return [
        (attack.name, enclosure)
        for attack in ATTACKS
        for enclosure in ENCLOSURES
        if enclosure in SANDBOXES or enclosure in attack.controls
    ]


def compile_programs(folder: Path) -> Path:
    """The attack programs, static: they must run in any image."""
    flags = ["-O1", "-w", "-static", "-pthread", f"-I{SHARED}"]
    sources = [*PROGRAMS.glob("*.c"), *SHARED.glob("*.c")]
    compilers = [
        subprocess.Popen(["gcc", *flags, "-o", str(folder / source.stem), str(source)])
        for source in sources
    ]
    assert all(compiler.wait(60) == 0 for compiler in compilers)
    folder.chmod(0o755)
    return folder


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[tuple[Mapping[str, Enclosure], Mapping[str, str]]]:
    """The enclosures that this host has, and why it lacks the others."""
    folder = Path(tempfile.mkdtemp(prefix="hermes-abuse-programs-", dir="/var/tmp"))
    lacking: dict[str, str] = {}
    async with contextlib.AsyncExitStack() as undo:
        undo.callback(shutil.rmtree, folder)
        programs = compile_programs(folder)
        bubblewrap = BubblewrapSandbox(f"abuse-{os.getpid()}")
        await bubblewrap.open()
        undo.push_async_callback(bubblewrap.close)
        found: dict[str, Enclosure] = {"bubblewrap": Enclosed("bubblewrap", bubblewrap, programs)}
        found["B0"] = PlainBubblewrap(programs)
        try:
            found |= await _containers(programs, undo)
        except (EngineUnavailable, ToolchainMissing) as missing:
            lacking["docker"] = lacking["D0"] = str(missing)
        if "D0" in found and shutil.which("docker") is None:
            del found["D0"]
            lacking["D0"] = "there is no `docker` command"
        yield found, lacking


async def _containers(programs: Path, undo: contextlib.AsyncExitStack) -> Mapping[str, Enclosure]:
    toolchain = await ensure_toolchain_images()
    run_image, build_image = toolchain.run_image, toolchain.build_image
    assert run_image and build_image
    owner = f"abuse-{os.getpid()}"
    sandbox = DockerSandbox(owner, run_image=run_image, build_image=build_image)
    await sandbox.open()
    undo.push_async_callback(remove_images_of, owner)
    undo.push_async_callback(sandbox.close)
    return {
        "docker": Enclosed("docker", sandbox, programs),
        "D0": PlainContainer(programs, run_image, build_image),
    }


async def attempt(attack: Attack, enclosure: Enclosure) -> Verdict:
    """One cell."""
    try:
        seen = await drive(enclosure, attack)
    except Exception as error:  # one that cannot be tried must not hide the others
        return Verdict([f"it could not be tried: {error!r}"], expected=False)
    through = attack.judge(seen)
    if enclosure.name in CONTROLS:
        return Verdict(through, expected=bool(through) == (enclosure.name in attack.real))
    return Verdict(through, expected=not through)


async def attempt_all(
    wanted: Iterable[Cell], enclosures: Mapping[str, Enclosure]
) -> dict[Cell, Verdict]:
    """The cells, two at a time."""
    attacks = {attack.name: attack for attack in ATTACKS}
    turn = asyncio.Semaphore(_AT_A_TIME)

    async def one(cell: Cell) -> tuple[Cell, Verdict]:
        async with turn:
            return cell, await attempt(attacks[cell[0]], enclosures[cell[1]])

    return dict(await asyncio.gather(*(one(cell) for cell in wanted if cell[1] in enclosures)))
