"""What a program sees as its file system.

Root assembles it by mounts of its own, which is faster than letting bwrap do it step by step and
bounds the number of files. Anyone else leaves it to bwrap.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from infra.sandbox import mounts, tree
from infra.sandbox.port import SandboxError, SandboxSpec
from infra.sandbox.skeleton import lay_out_etc

# Of the host's root folder: programs and libraries, no more. Links there (/bin → usr/bin) are kept.
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
# A GPU's driver asks /sys about the hardware. Other sandboxes, by their control groups, and the
# host's firmware are none of its business.
_COVERED = ("/sys/fs", "/sys/firmware")
_WRITABLE = {"work": "/work", "tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108


class Template:
    """The part that all sandboxes of an agent share: /usr, a small /etc, a small /dev."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tree.make_public(folder)
        for name in ("proc", "fn", "dev", *(path[1:] for path in _WRITABLE.values())):
            tree.make_public(folder / name)
        lay_out_etc(folder / "etc")
        for name in _SYSTEM:
            host, inside = Path("/", name), folder / name
            if host.is_symlink():
                inside.symlink_to(host.readlink())
            elif host.is_dir():
                tree.make_public(inside)
                mounts.bind(host, inside)
        _lay_out_dev(folder / "dev", _DEVICES)

    def release(self) -> None:
        """Detach the host's folders, so that what is removed below is ours."""
        for name in _SYSTEM:
            mounts.unmount(self.folder / name)

    def point(self, inside: str, like: Path) -> None:
        """See that there is something to mount on at `inside`, a folder or a file like `like`."""
        place = self.folder / inside.lstrip("/")
        if place.exists():
            return
        try:
            tree.make_public(place if like.is_dir() else place.parent)
            if not like.is_dir():
                place.touch(mode=0o444)
        except OSError as error:
            raise SandboxError(f"nothing can be shown at {inside}: {error.strerror}") from error


def _lay_out_dev(folder: Path, devices: Iterable[str]) -> None:
    """Nodes of these devices of the host, open to all as their drivers' own are, and the links."""
    for device in devices:
        node = folder / Path(device).relative_to("/dev")
        tree.make_public(node.parent)
        os.mknod(node, stat.S_IFCHR, Path(device).stat().st_rdev)
        node.chmod(0o666)
    for name, target in _DEVICE_LINKS.items():
        (folder / name).symlink_to(target)
    tree.make_public(folder / "shm")


class AssembledView:
    """One sandbox's root folder, made of mounts."""

    def __init__(self, template: Template, folder: Path) -> None:
        self._template = template
        self._folder = folder
        self.work = folder / "work"

    def assemble(self, spec: SandboxSpec, sizes: dict[str, int], user: int) -> None:
        """Mount everything; `sizes` of the writable folders in bytes. Raises SandboxError."""
        extra = list(spec.extra_ro_binds)
        if spec.gpu_devices:
            extra.append(("/sys", "/sys"))
        for host, inside in extra:
            self._template.point(inside, Path(host))
        self._folder.mkdir()
        mounts.bind(self._template.folder, self._folder, devices=True)
        if spec.gpu_devices:
            dev = self._folder / "dev"
            mounts.mount_for_devices(dev)
            _lay_out_dev(dev, (*_DEVICES, *spec.gpu_devices))
            mounts.seal(dev)
        for name, inside in _WRITABLE.items():
            place = self._folder / inside[1:]
            mounts.mount_tmpfs(place, sizes[name], spec.limits.work_files, user)
        if spec.kind == "run":
            mounts.bind(spec.function_dir, self._folder / "fn")
        for host, inside in extra:
            mounts.bind(Path(host), self._folder / inside.lstrip("/"))
        if spec.gpu_devices:
            for hidden in filter(os.path.isdir, _COVERED):
                mounts.cover(self._folder / hidden[1:])

    def release(self) -> None:
        """Detach the mounts, and with the last process the folders' memory is free."""
        mounts.unmount(self._folder)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def arguments(self) -> list[str]:
        """For bwrap."""
        return ["--dev-bind", str(self._folder), "/", "--proc", "/proc"]


class DelegatedView:
    """One sandbox's root folder, left to bwrap. `work` lies on the host only where it is kept."""

    def __init__(self, etc: Path, folder: Path) -> None:
        self._etc = etc
        self._folder = folder
        self._spec: SandboxSpec | None = None
        self._sizes: dict[str, int] = {}
        self.work = folder / "work"

    def assemble(self, spec: SandboxSpec, sizes: dict[str, int]) -> None:
        """Remember what to show."""
        self._spec, self._sizes = spec, sizes
        self._folder.mkdir()
        if spec.kind == "build" or spec.keep_work:
            self.work.mkdir(mode=0o700)

    def release(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def arguments(self) -> list[str]:
        """For bwrap."""
        assert self._spec is not None
        spec = self._spec
        args = ["--ro-bind", str(self._etc), "/etc", "--proc", "/proc", "--dev", "/dev"]
        for name in _SYSTEM:
            host = Path("/", name)
            if host.is_symlink():
                args += ["--symlink", str(host.readlink()), str(host)]
            elif host.is_dir():
                args += ["--ro-bind", str(host), str(host)]
        for name, inside in _WRITABLE.items():
            if name == "work" and self.work.is_dir():
                args += ["--bind", str(self.work), inside]
            else:
                args += ["--size", str(self._sizes[name]), "--tmpfs", inside]
        if spec.kind == "run":
            args += ["--ro-bind", str(spec.function_dir), "/fn"]
        for device in spec.gpu_devices:
            args += ["--dev-bind", device, device]
        shown = [*spec.extra_ro_binds, *([("/sys", "/sys")] if spec.gpu_devices else [])]
        for host_path, inside in shown:
            args += ["--ro-bind", host_path, inside]
        if spec.gpu_devices:
            for hidden in filter(os.path.isdir, _COVERED):
                args += ["--tmpfs", hidden, "--remount-ro", hidden]
        return [*args, "--remount-ro", "/dev", "--remount-ro", "/"]
