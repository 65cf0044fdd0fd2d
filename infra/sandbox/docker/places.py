"""What one container takes on this host besides itself: a user id, a folder, pipes, a channel."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from infra.sandbox import tree
from infra.sandbox.docker.channel import Channel
from infra.sandbox.pipes import OutputPipes
from infra.sandbox.port import SandboxError, SandboxSpec
from infra.sandbox.sources import copy_sources
from infra.sandbox.users import UserPool

# What differs from container to container; the rest stands in the images.
_FILES = {
    "/etc/passwd": "hermes:x:{user}:{user}:hermes:/work:/bin/sh\n",
    "/etc/group": "hermes:x:{user}:\n",
    "/etc/hostname": "",  # else the engine shows a file of its own
}


class StateFolder:
    """Where an agent keeps the files and sockets that its containers see."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._laid_out: set[int] = set()

    def lay_out(self) -> None:
        """Make it. Raises OSError."""
        tree.make_public(self._folder / "empty")
        tree.make_public(self._folder / "channels")

    @property
    def empty(self) -> Path:
        """A folder with nothing in it."""
        return self._folder / "empty"

    def etc(self, user: int) -> tuple[tuple[Path, str], ...]:
        """Files of /etc for a container of this user, and their paths inside. Raises OSError."""
        folder = self._folder / "etc" / str(user)
        if user not in self._laid_out:
            tree.make_public(folder)
            for path, content in _FILES.items():
                file = folder / Path(path).name
                file.write_text(content.format(user=user))
                file.chmod(0o644)
            self._laid_out.add(user)
        return tuple((folder / Path(path).name, path) for path in _FILES)

    def channel(self, name: str) -> Path:
        """A new folder for one channel. Raises FileExistsError."""
        folder = self._folder / "channels" / name
        folder.mkdir()
        folder.chmod(0o755)
        return folder

    def channels(self) -> set[str]:
        """Names for which there is a folder."""
        folder = self._folder / "channels"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def forget(self, name: str) -> None:
        """Remove a channel's folder."""
        folder = self._folder / "channels" / name
        try:
            folder.rmdir()  # takes no descriptor: there may be none left
        except OSError:  # a socket is in it, of an agent that was killed
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove everything, but for channels that are in use."""
        for name in ("etc", "empty"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        for folder in (self._folder / "channels", self._folder):
            with contextlib.suppress(OSError):
                folder.rmdir()


class Places:
    """Taken together, released together."""

    def __init__(self, spec: SandboxSpec, state: StateFolder, users: UserPool) -> None:
        """Raises SandboxError and leaves nothing then."""
        self._spec = spec
        self._state = state
        self._users = users
        self._work_fd = -1
        self.kept_work: Path | None = None
        self.user = users.take()
        self.folder: Path
        self.channel: Channel
        self.outputs: OutputPipes
        try:
            if spec.function_dir.stat().st_mode & 0o005 != 0o005:
                raise SandboxError(f"{spec.function_dir} is not readable for everybody (mode 0755)")
            self.etc = state.etc(self.user)
            self.folder = state.channel(spec.name)
            self.channel = Channel(self.folder, self.user)
            self.outputs = OutputPipes(self.user)
        except FileExistsError as error:
            self.release()
            raise SandboxError(f"there is a sandbox {spec.name} already") from error
        except OSError as error:
            self.release()
            raise SandboxError(f"cannot lay out a sandbox: {error}") from error
        except SandboxError:
            self.release()
            raise

    def open_work(self, pid: int) -> None:
        """Hold on to the work folder, which else goes with the container. `pid` is process 1 and
        nothing of the program has run yet. Raises OSError."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._work_fd = os.open(f"/proc/{pid}/root/work", flags)
        if self._spec.keep_work:
            self.kept_work = Path(f"/proc/self/fd/{self._work_fd}")

    async def copy_function(self) -> None:
        """A build's sources into its work folder, as the container's user. Raises OSError."""
        await copy_sources(self._spec.function_dir, self._work_fd, self.user)

    def release(self) -> None:
        """Undo everything."""
        if self._work_fd >= 0:
            os.close(self._work_fd)
            self._work_fd = -1
        for taken in ("outputs", "channel"):  # as far as we got
            if hasattr(self, taken):
                getattr(self, taken).close()
        if hasattr(self, "folder"):
            self._state.forget(self._spec.name)
        self._users.give_back(self.user)
