"""Layers of images: tars of folders that come out the same, byte for byte, wherever they are made.

Names sorted, one time for all files, owners by number; no sockets, pipes and devices. In a layer
that lies on another, what is gone from a folder is noted as OCI images do.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from infra.images.rootfs import EPOCH

_WHITEOUT = ".wh."
_COMPARED = ("st_mode", "st_uid", "st_gid")


class Layer(msgspec.Struct, frozen=True):
    """A layer, and the file that holds it; None once the engine is known to have it."""

    #: "sha256:…" over the uncompressed tar.
    diff_id: str
    #: Of the tar.
    size: int
    path: Path | None = None


def unpackable(folder: Path) -> str | None:
    """The path of something below `folder` that no layer can hold: its name would mean that
    something else is gone. Raises OSError."""
    for _, relative in _walk(folder):
        if _means_gone(relative):
            return relative
    return None


def pack_folder(
    folder: Path,
    target: Path,
    *,
    at: str = "",
    over: Path | None = None,
    select: Callable[[str], bool] | None = None,
    plain: bool = False,
) -> Layer:
    """Write the layer with the content of `folder` to `target`.

    `at` is where in the image it comes to lie ("" is the root). `over` is the folder that the
    layers below amount to: only differences from it go into the layer. `select` tells of a path
    below `folder` whether it belongs there. `plain` gives everything to root and leaves of a file's
    mode only whether it may be executed; else owners and modes are kept, but for set-user and
    set-group bits. Raises OSError, also for what is `unpackable`.
    """
    inside = at.strip("/")
    with target.open("wb") as file:
        hashed = _Hashed(file)
        with tarfile.open(fileobj=hashed, mode="w", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            _add_parents(tar, inside)
            packer = _Packer(tar, f"{inside}/" if inside else "", plain)
            for path, relative in _walk(folder):
                if select is not None and not select(relative):
                    continue
                if over is None or _differ(path, over / relative):
                    packer.add(path, relative)
            for gone in _gone(over, folder) if over is not None else ():
                packer.hide(gone)
    return Layer(diff_id=f"sha256:{hashed.digest()}", size=hashed.size, path=target)


class _Hashed:
    """A file that knows the digest of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._total = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._total.update(data)
        self.size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.size

    def digest(self) -> str:
        return self._total.hexdigest()


class _Packer:
    def __init__(self, tar: tarfile.TarFile, prefix: str, plain: bool) -> None:
        self._tar = tar
        self._prefix = prefix
        self._plain = plain
        self._linked: dict[tuple[int, int], str] = {}

    def hide(self, relative: str) -> None:
        """Note that something of the layers below is gone."""
        parent, _, base = (self._prefix + relative).rpartition("/")
        self._tar.addfile(_info(f"{parent}/{_WHITEOUT}{base}" if parent else _WHITEOUT + base))

    def add(self, path: Path, relative: str) -> None:
        """Add a file, link or folder without its content; anything else is left out."""
        if _means_gone(relative):
            raise OSError(f"a layer cannot hold {relative!r}")
        name = self._prefix + relative
        status = path.lstat()
        info = _info(name)
        info.uid, info.gid = (0, 0) if self._plain else (status.st_uid, status.st_gid)
        info.mode = self._mode(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
            self._tar.addfile(info)
        elif stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
            self._tar.addfile(info)
        elif stat.S_ISREG(status.st_mode):
            inode = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and inode in self._linked:
                info.type, info.linkname = tarfile.LNKTYPE, self._linked[inode]
                self._tar.addfile(info)
                return
            self._linked[inode] = name
            info.size = status.st_size
            with path.open("rb") as content:
                self._tar.addfile(info, content)

    def _mode(self, mode: int) -> int:
        if stat.S_ISLNK(mode):
            return 0o777
        if self._plain:
            return 0o755 if stat.S_ISDIR(mode) or mode & 0o111 else 0o644
        return stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID)


def _means_gone(relative: str) -> bool:
    return any(part.startswith(_WHITEOUT) for part in relative.split("/"))


def _info(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mtime = EPOCH
    return info


def _add_parents(tar: tarfile.TarFile, inside: str) -> None:
    parts = inside.split("/") if inside else []
    for count in range(1, len(parts) + 1):
        info = _info("/".join(parts[:count]))
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)


def _walk(folder: Path, prefix: str = "") -> Iterator[tuple[Path, str]]:
    """Everything below, a folder before its content, names in the order of their bytes."""
    for path in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        relative = prefix + path.name
        yield path, relative
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, f"{relative}/")


def _gone(lower: Path, upper: Path) -> Iterator[str]:
    """What is below `lower` and not below `upper`; of a folder that is gone only the folder."""
    skipped: str | None = None
    for path, relative in _walk(lower):
        if skipped is not None and relative.startswith(skipped):
            continue
        there = upper / relative
        if not os.path.lexists(there):
            yield relative
        if path.is_dir() and not path.is_symlink() and (there.is_symlink() or not there.is_dir()):
            skipped = f"{relative}/"  # with the folder all in it went


def _differ(path: Path, below: Path) -> bool:
    try:
        lower = below.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    status = path.lstat()
    if any(getattr(status, name) != getattr(lower, name) for name in _COMPARED):
        return True
    if stat.S_ISLNK(status.st_mode):
        return path.readlink() != below.readlink()
    if stat.S_ISREG(status.st_mode):
        return not filecmp.cmp(path, below, shallow=False)
    return False
