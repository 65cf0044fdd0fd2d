"""An engine of the tests' own, which they may freeze, kill and start again.

In a network namespace of its own: an engine that is told to have no bridge deletes the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import aiodocker
import pytest

from infra.engine import connect

_PATIENCE = 60.0  # seconds


class OwnEngine:
    """`folder` takes everything of it; make one with a short path, for its sockets lie there.

    `options` are more words for it.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder}/docker.sock"

    async def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        if shutil.which("dockerd") is None or shutil.which("unshare") is None:
            pytest.skip("NO ENGINE OF OUR OWN: there is no dockerd to start")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "unshare", "--net", "dockerd",
                    "--host", self.url,
                    "--data-root", str(self._folder / "data"),
                    "--exec-root", str(self._folder / "exec"),
                    "--pidfile", str(self._folder / "pid"),
                    "--bridge", "none", "--iptables=false", "--ip-forward=false", *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        begin = time.monotonic()
        while True:
            try:
                async with self.client() as client:
                    await client.version()
                return
            except (aiodocker.DockerError, OSError):
                assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
                assert time.monotonic() - begin < _PATIENCE, "the engine does not come up"
                await asyncio.sleep(0.1)

    def client(self) -> aiodocker.Docker:
        """A client, to be closed."""
        return aiodocker.Docker(url=self.url)

    async def take_image(self, image: str) -> None:
        """Bring an image over from the host's engine."""
        archive = self._folder / "image.tar"
        async with await connect() as host, host.images.export_image(image) as content:
            with archive.open("wb") as file:
                while chunk := await content.read(1 << 20):
                    file.write(chunk)
        async with self.client() as client:
            with archive.open("rb") as file:
                async for _ in client.images.import_image(file, stream=True):
                    pass
        archive.unlink()

    def send(self, number: int) -> None:
        """Signal the engine itself, not what it has started."""
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, number: int = signal.SIGTERM) -> None:
        """End it, and wait until it has ended."""
        self.send(number)
        assert self._process is not None
        await asyncio.to_thread(self._process.wait, _PATIENCE)
        if number == signal.SIGKILL:
            self._end_containerd()

    def _end_containerd(self) -> None:
        """The engine's helper, which an engine that was killed has left; it believes what this file
        says even of a process that has ended."""
        file = self._folder / "exec/containerd/containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)
        file.unlink(missing_ok=True)

    async def remove(self) -> None:
        """End it and all it has started, and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGCONT)
            await self.end()
        self._end_containerd()
        for process in Path("/proc").glob("[0-9]*"):  # the keepers of containers, left by a kill
            with contextlib.suppress(OSError):
                if os.fsencode(self._folder) in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (point := mount.split()[1]).startswith(f"{self._folder}/"):
                subprocess.run(["umount", "--lazy", point], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)
