"""Packs a function's folder for upload: the same folder gives the same bytes, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from hermes.errors import FieldProblem
from hermes.packages.archive_limits import SOURCE_LIMITS, ArchiveLimits
from hermes.packages.config import (
    CONFIG_NAME,
    MAKEFILE_NAME,
    MAX_CONFIG_BYTES,
    FunctionConfig,
    parse_config,
)
from hermes.packages.errors import FolderError
from hermes.packages.ignore import IGNORE_NAME, MAX_IGNORE_BYTES, read_ignore
from hermes.packages.tar_writer import GzipSink, HashingSink, write_end, write_entry
from hermes.packages.tree_reader import Found, TreeReader

_LARGEST = 5


class PackedPackage(msgspec.Struct, frozen=True):
    """A packed folder: its config, how many files, and the archive's size and SHA-256."""

    config: FunctionConfig
    files: int
    bytes: int
    sha256: str


def read_folder_config(folder: Path) -> FunctionConfig:
    """The config of a function's folder. Raises FolderError or ConfigError."""
    with TreeReader(folder) as tree:
        return _read_config(tree)


def pack(folder: Path, target: BinaryIO, limits: ArchiveLimits = SOURCE_LIMITS) -> PackedPackage:
    """Write the folder, without what `.hermesignore` and `.git` rules leave out, as a tar.gz.

    Raises FolderError or ConfigError; then `target` may hold a part of the archive.
    """
    with TreeReader(folder) as tree:
        config = _read_config(tree)
        ignored = read_ignore(tree.read_small(IGNORE_NAME, MAX_IGNORE_BYTES))
        found = tree.walk(ignored, limits.entries)
        _require_root_files(tree, found)
        _require_size(sum(entry.size for entry in found), limits.unpacked, found)
        packed = HashingSink(target)
        gzip = GzipSink(packed)
        for entry in found:
            write_entry(gzip, entry, () if entry.folder else tree.contents(entry))
            _require_size(packed.bytes, limits.packed, found)
        write_end(gzip)
        gzip.finish()
        _require_size(packed.bytes, limits.packed, found)
    files = sum(not entry.folder for entry in found)
    return PackedPackage(config, files, packed.bytes, packed.sha256)


def _read_config(tree: TreeReader) -> FunctionConfig:
    data = tree.read_small(CONFIG_NAME, MAX_CONFIG_BYTES)
    if data is None:
        raise FolderError(
            [FieldProblem(CONFIG_NAME, "is missing: `hermes function init` writes one")]
        )
    return parse_config(data)


def _require_root_files(tree: TreeReader, found: list[Found]) -> None:
    packed = {entry.path for entry in found if not entry.folder}
    problems = []
    for name in (CONFIG_NAME, MAKEFILE_NAME):
        if name in packed:
            continue
        if tree.read_small(name, 0) is None:
            problems.append(FieldProblem(name, "is missing: a function is built with `make`"))
        else:
            problems.append(FieldProblem(name, f"is needed, but {IGNORE_NAME} leaves it out"))
    if problems:
        raise FolderError(problems)


def _require_size(size: int, most: int, found: list[Found]) -> None:
    if size <= most:
        return
    largest = sorted(found, key=lambda entry: (-entry.size, entry.path))[:_LARGEST]
    raise FolderError(
        [
            FieldProblem(".", f"is larger than {most} bytes: leave files out with {IGNORE_NAME}"),
            *(FieldProblem(entry.path, f"{entry.size} bytes") for entry in largest),
        ]
    )
