"""Reads a folder in a fixed order, following no link: a build may have left anything in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from hermes.errors import FieldProblem
from hermes.packages.descriptors import FOLDER, open_below, open_root
from hermes.packages.errors import FolderError
from hermes.packages.names import MAX_DEPTH, NameSpace, path_problem, shown

_PIECE = 256 * 1024
_MAX_PROBLEMS = 20


class Found(msgspec.Struct, frozen=True):
    """A file or folder: its clean path, size in bytes (0 for folders), and whether it runs."""

    path: str
    folder: bool
    size: int
    executable: bool


class TreeReader:
    """The files below one folder, by descriptors: moving the folder changes nothing."""

    def __init__(self, root: Path) -> None:
        try:
            self._root = open_root(root)
        except OSError as error:
            reason = error.strerror or "cannot be read"
            raise FolderError(
                [FieldProblem(shown(str(root)), f"{reason}: name a folder")]
            ) from None

    def __enter__(self) -> TreeReader:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    def read_small(self, name: str, most: int) -> bytes | None:
        """A file at the root, up to `most` + 1 bytes of it; None if there is none."""
        try:
            fd = open_below(self._root, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot_read(name, error) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FolderError([FieldProblem(name, "must be a regular file")])
            return os.read(fd, most + 1)
        finally:
            os.close(fd)

    def walk(self, ignored: Callable[[str], bool], most: int) -> list[Found]:
        """Everything not ignored, parents first, sorted by name.

        Raises FolderError naming links, devices, pipes and unfit names, or if there are more than
        `most` files and folders.
        """
        found: list[Found] = []
        problems: list[FieldProblem] = []
        names = NameSpace()
        for path, status in self._entries(self._root, "", ignored, problems):
            folder = stat.S_ISDIR(status.st_mode)
            problem = _kind_problem(status.st_mode) or path_problem(path)
            problem = problem or names.claim(path, folder=folder)
            if problem is not None:
                problems.append(FieldProblem(shown(path), problem))
            if len(problems) >= _MAX_PROBLEMS:
                break
            if len(found) >= most:
                raise FolderError([FieldProblem(".", f"holds more than {most} files and folders")])
            size = 0 if folder else status.st_size
            found.append(Found(path, folder, size, bool(status.st_mode & 0o111)))
        if problems:
            raise FolderError(problems)
        return found

    def contents(self, file: Found) -> Iterator[bytes]:
        """The file's bytes. Raises FolderError if it is no longer as it was found."""
        try:
            fd = open_below(self._root, file.path)
        except OSError as error:
            raise _cannot_read(file.path, error) from None
        try:
            status = os.fstat(fd)
            left = file.size
            if not stat.S_ISREG(status.st_mode) or status.st_size != left:
                raise _changed(file.path)
            while left:
                piece = os.read(fd, min(left, _PIECE))
                if not piece:
                    raise _changed(file.path)
                left -= len(piece)
                yield piece
        finally:
            os.close(fd)

    def _entries(
        self,
        fd: int,
        prefix: str,
        ignored: Callable[[str], bool],
        problems: list[FieldProblem],
    ) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with os.scandir(fd) as listing:
                names = sorted(entry.name for entry in listing)
        except OSError as error:
            problems.append(FieldProblem(shown(prefix) or ".", error.strerror or "cannot be read"))
            return
        for name in names:
            path = prefix + name
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                problems.append(FieldProblem(shown(path), error.strerror or "cannot be read"))
                continue
            folder = stat.S_ISDIR(status.st_mode)
            if ignored(f"{path}/" if folder else path):
                continue
            yield path, status
            if folder and path.count("/") < MAX_DEPTH:
                try:
                    inner = os.open(name, FOLDER, dir_fd=fd)
                except OSError as error:
                    reason = error.strerror or "cannot be read"
                    problems.append(FieldProblem(shown(path), reason))
                    continue
                try:
                    yield from self._entries(inner, f"{path}/", ignored, problems)
                finally:
                    os.close(inner)


def _kind_problem(mode: int) -> str | None:
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    if stat.S_ISLNK(mode):
        return "is a symbolic link: packages hold files and folders, so put a copy in its place"
    return "is a device, pipe or socket: packages hold files and folders, so remove it"


def _cannot_read(path: str, error: OSError) -> FolderError:
    return FolderError([FieldProblem(shown(path), error.strerror or "cannot be read")])


def _changed(path: str) -> FolderError:
    return FolderError([FieldProblem(shown(path), "changed while it was being packed")])
