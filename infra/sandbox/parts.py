"""What one bubblewrap sandbox takes on the host: a user id, a root folder, a control group."""

from __future__ import annotations

import os
from pathlib import Path

from infra.sandbox.cgroups import ControlGroup, ControlGroups
from infra.sandbox.port import MIB, SandboxError, SandboxSpec
from infra.sandbox.sources import copy_sources
from infra.sandbox.users import UserPool
from infra.sandbox.view import AssembledView, DelegatedView, Template

_SHM_BYTES = 64 * MIB
_TMP_BYTES = 64 * MIB  # a build's compilers get as much as its work folder
_OURS = 2  # bwrap and process 1 count as processes too


def folder_sizes(spec: SandboxSpec) -> dict[str, int]:
    """Bytes of each memory-backed folder, by name.

    What stands in them is charged to the program's memory. So each is a part of that at most, and
    filling one up ends with "no space left", not with the program killed.
    """
    memory = spec.limits.memory
    work = min(spec.limits.work_bytes, memory // 4)
    return {
        "work": work,
        "tmp": work if spec.kind == "build" else min(_TMP_BYTES, memory // 8),
        "shm": min(_SHM_BYTES, memory // 8),
    }


class Parts:
    """Taken together, released together."""

    def __init__(
        self,
        spec: SandboxSpec,
        folder: Path,
        root: tuple[UserPool, Template] | None,
        groups: ControlGroups | None,
    ) -> None:
        self._spec = spec
        self._root = root
        self._work_fd = -1
        self.user: int | None = None
        self.group: ControlGroup | None = None
        self.kept_work: Path | None = None
        self.view: AssembledView | DelegatedView
        sizes = folder_sizes(spec)
        place = folder / spec.name
        if place.exists():
            raise SandboxError(f"there is a sandbox {spec.name} already")
        try:
            if spec.function_dir.stat().st_mode & 0o005 != 0o005:
                raise SandboxError(f"{spec.function_dir} is not readable for everybody (mode 0755)")
            if root:
                users, template = root
                self.user = users.take()
                self.view = assembled = AssembledView(template, place)
                assembled.assemble(spec, sizes, self.user)
            else:
                self.view = delegated = DelegatedView(folder / "template" / "etc", place)
                delegated.assemble(spec, sizes)
            self._open_work()
            if groups:
                self.group = groups.group(spec.name)
                self.group.create(
                    spec.limits.memory, spec.limits.processes + _OURS, spec.limits.cpus
                )
        except OSError as error:
            self.release()
            raise SandboxError(f"cannot lay out a sandbox: {error}") from error
        except SandboxError:
            self.release()
            raise

    def _open_work(self) -> None:
        if self._spec.kind == "build" or self._spec.keep_work:
            self._work_fd = os.open(self.view.work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if self._spec.keep_work:
                # By descriptor, as threads outside our mount namespace do not see the path.
                self.kept_work = Path(f"/proc/self/fd/{self._work_fd}")

    async def copy_function(self) -> None:
        """A build's sources into its work folder, as the sandbox's user."""
        try:
            await copy_sources(self._spec.function_dir, self._work_fd, self.user)
        except OSError as error:
            raise SandboxError(f"cannot copy the sources: {error}") from error

    def release(self) -> None:
        """Undo everything."""
        if self._work_fd >= 0:
            os.close(self._work_fd)
            self._work_fd = -1
        if self.group:
            self.group.remove()
        if hasattr(self, "view"):
            self.view.release()
        if self._root and self.user is not None:
            self._root[0].give_back(self.user)
            self.user = None
