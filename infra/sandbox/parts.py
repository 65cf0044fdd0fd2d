"""What one bubblewrap sandbox takes on the host: a user id, folders, a control group."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from infra.sandbox import mounts, tree
from infra.sandbox.cgroups import ControlGroup, ControlGroups
from infra.sandbox.port import MIB, SandboxError, SandboxSpec
from infra.sandbox.users import UserPool

SHM_BYTES = 64 * MIB
_RUN_TMP = 64 * MIB
_OURS = 2  # bwrap and process 1 count as processes too


class Parts:
    """What one sandbox takes on the host, and its release."""

    def __init__(
        self,
        spec: SandboxSpec,
        folder: Path,
        users: UserPool | None,
        groups: ControlGroups | None,
    ) -> None:
        self._spec = spec
        self._users = users
        self._folder = folder / spec.name
        self._work_fd = -1
        self.user = users.take() if users else None
        self.group: ControlGroup | None = None
        self.function: Path | None = None
        self.extra_ro_binds = spec.extra_ro_binds
        self.work: Path | None = None
        self.tmp: Path | None = None
        self.shm: Path | None = None
        self.kept_work: Path | None = None
        build = spec.kind == "build"
        self.tmp_bytes = spec.limits.work_bytes if build else _RUN_TMP
        try:
            self._folder.mkdir(mode=0o711)
            self._lay_out(build)
            if groups:
                group = groups.group(spec.name)
                # What stands in the memory-backed folders is charged to the group as well.
                memory = spec.limits.memory + spec.limits.work_bytes + self.tmp_bytes + SHM_BYTES
                group.create(memory, spec.limits.processes + _OURS, spec.limits.cpus)
                self.group = group
        except OSError as error:
            self.release()
            raise SandboxError(f"cannot lay out a sandbox: {error}") from error
        except SandboxError:
            self.release()
            raise

    def _lay_out(self, build: bool) -> None:
        limits, spec = self._spec.limits, self._spec
        if spec.function_dir.stat().st_mode & 0o005 != 0o005:
            raise SandboxError(f"{spec.function_dir} is not readable for everybody (mode 0755)")
        if self.user is not None:
            self.work = self._memory_backed("work", limits.work_bytes)
            self.tmp = self._memory_backed("tmp", self.tmp_bytes)
            self.shm = self._memory_backed("shm", SHM_BYTES)
        elif build or spec.keep_work:
            self.work = self._folder / "work"
            self.work.mkdir(mode=0o700)
        if not build:
            self.function = spec.function_dir
            if self.user is not None:
                self.function = self._within_reach(spec.function_dir, "fn")
        if self.user is not None:
            self.extra_ro_binds = tuple(
                (str(self._within_reach(Path(host), f"extra-{number}")), inside)
                for number, (host, inside) in enumerate(spec.extra_ro_binds)
            )
        if self.work is not None and (build or spec.keep_work):
            self._work_fd = os.open(self.work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if spec.keep_work:
                # By descriptor, as threads outside our mount namespace do not see the path.
                self.kept_work = Path(f"/proc/self/fd/{self._work_fd}")

    def _within_reach(self, folder: Path, name: str) -> Path:
        """Bound where the sandbox's user can reach it; the way to the original may be barred."""
        target = self._folder / name
        target.mkdir()
        mounts.bind(folder, target)
        return target

    def _memory_backed(self, name: str, size: int) -> Path:
        assert self.user is not None
        folder = self._folder / name
        folder.mkdir()
        mounts.mount_tmpfs(folder, size, self._spec.limits.work_files, self.user, 0o700)
        return folder

    async def copy_function(self) -> None:
        """A build's sources into its work folder, as the sandbox's user."""
        source = os.open(self._spec.function_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await asyncio.to_thread(tree.copy, source, self._work_fd, self.user)
        except OSError as error:
            raise SandboxError(f"cannot copy the sources: {error}") from error
        finally:
            os.close(source)

    def release(self) -> None:
        """Undo everything."""
        if self._work_fd >= 0:
            os.close(self._work_fd)
            self._work_fd = -1
        if self.group:
            self.group.remove()
        if self.user is not None:
            for name in ("work", "tmp", "shm", "fn"):
                mounts.unmount(self._folder / name)
            for number in range(len(self._spec.extra_ro_binds)):
                mounts.unmount(self._folder / f"extra-{number}")
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._users and self.user is not None:
            self._users.give_back(self.user)
            self.user = None
