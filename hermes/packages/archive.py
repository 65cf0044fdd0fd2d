"""Reads a function's archive: checks all of it, and writes it out only where it is told to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from hermes.errors import FieldProblem
from hermes.packages.archive_limits import ARTIFACT_LIMITS, SOURCE_LIMITS, ArchiveLimits
from hermes.packages.byte_stream import ExactReader, gunzip, plain
from hermes.packages.config import (
    CONFIG_NAME,
    MAKEFILE_NAME,
    MAX_CONFIG_BYTES,
    FunctionConfig,
    parse_config,
)
from hermes.packages.errors import ArchiveError, ConfigError, broken_archive
from hermes.packages.names import NameSpace, path_problem, shown
from hermes.packages.tar_stream import Entry, read_entries
from hermes.packages.tree_writer import TreeWriter

_MAX_PROBLEMS = 20

Source = Path | BinaryIO


class UnpackedPackage(msgspec.Struct, frozen=True):
    """A function's archive that passed every check: its config, how many files, their bytes."""

    config: FunctionConfig
    files: int
    bytes: int


class UnpackedArtifact(msgspec.Struct, frozen=True):
    """An artifact that passed every check: how many files, and their bytes."""

    files: int
    bytes: int


def validate(source: Source, limits: ArchiveLimits = SOURCE_LIMITS) -> UnpackedPackage:
    """Check a tar.gz without writing anything. Raises ArchiveError or ConfigError."""
    return _read_package(source, limits, None)


def unpack(source: Source, target: Path, limits: ArchiveLimits = SOURCE_LIMITS) -> UnpackedPackage:
    """Unpack a tar.gz into the new folder `target`, complete or not at all.

    Raises ArchiveError or ConfigError for what the archive holds; OSError where the disk fails or
    `target` is already there with something in it.
    """
    with _appearing_at(target) as writer:
        return _read_package(source, limits, writer)


def unpack_artifact(
    source: Source, target: Path, limits: ArchiveLimits = ARTIFACT_LIMITS
) -> UnpackedArtifact:
    """Unpack what `pack_artifact` wrote into the new folder `target`, complete or not at all."""
    with _opened(source) as file, _appearing_at(target) as writer:
        scan = _Scan(limits, writer)
        scan.run(ExactReader(plain(file, limits), limits.stream))
        return UnpackedArtifact(scan.files, scan.bytes)


def _read_package(
    source: Source, limits: ArchiveLimits, writer: TreeWriter | None
) -> UnpackedPackage:
    with _opened(source) as file:
        scan = _Scan(limits, writer)
        scan.run(ExactReader(gunzip(file, limits), limits.stream))
    scan.require_root_files()
    return UnpackedPackage(parse_config(scan.config), scan.files, scan.bytes)


class _Scan:
    """One pass over an archive. Nothing is written any more once a problem was found."""

    def __init__(self, limits: ArchiveLimits, writer: TreeWriter | None) -> None:
        self.limits = limits
        self.files = 0
        self.bytes = 0
        self.config = b""
        self._paths: set[str] = set()
        self._names = NameSpace()
        self._writer = writer
        self._problems: list[FieldProblem] = []

    def run(self, reader: ExactReader) -> None:
        """Read to the end. Raises ArchiveError with up to 20 problems."""
        for entry in read_entries(reader, 3 * self.limits.entries):
            self._take(entry)
        self._raise_problems()

    def require_root_files(self) -> None:
        """A function has its config and its Makefile at the root."""
        for name in (CONFIG_NAME, MAKEFILE_NAME):
            if name not in self._paths:
                self._problem(name, f"is missing at the root of the archive{self._hint(name)}")
        self._raise_problems()

    def _hint(self, name: str) -> str:
        nested = sorted(path for path in self._paths if path.endswith(f"/{name}"))
        if not nested:
            return ""
        return f"; it is at `{shown(nested[0])}`: pack what is in the folder, not the folder"

    def _take(self, entry: Entry) -> None:
        self.bytes += entry.size
        if self.bytes > self.limits.unpacked:
            raise broken_archive(f"unpacks to more than {self.limits.unpacked} bytes")
        path = entry.name.removeprefix("./")
        if entry.folder and path == ".":
            return
        problem = entry.problem or path_problem(path)
        problem = problem or self._names.claim(path, folder=entry.folder)
        if len(self._names) > self.limits.entries:
            raise broken_archive(f"holds more than {self.limits.entries} files and folders")
        if problem is not None:
            self._problem(path, problem)
        elif ".git" not in path.split("/"):
            self._keep(entry, path)

    def _keep(self, entry: Entry, path: str) -> None:
        writer = None if self._problems else self._writer
        if entry.folder:
            if writer is not None:
                writer.folder(path)
            return
        self.files += 1
        self._paths.add(path)
        contents: Iterator[bytes] = entry.contents()
        if path == CONFIG_NAME:
            if entry.size > MAX_CONFIG_BYTES:
                raise ConfigError(
                    [FieldProblem(path, f"is larger than {MAX_CONFIG_BYTES // 1024} KiB")]
                )
            self.config = b"".join(contents)
            contents = iter((self.config,))
        if writer is not None:
            writer.file(path, contents, executable=entry.executable)

    def _problem(self, path: str, message: str) -> None:
        self._problems.append(FieldProblem(shown(path) or "archive", message))
        if len(self._problems) >= _MAX_PROBLEMS:
            self._raise_problems()

    def _raise_problems(self) -> None:
        if self._problems:
            raise ArchiveError(self._problems)


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    else:
        yield source


@contextmanager
def _appearing_at(target: Path) -> Iterator[TreeWriter]:
    """Write beside `target` and rename in the end, so it is complete or absent."""
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with TreeWriter(partial) as writer:
            yield writer
        partial.chmod(0o755)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
