"""Packs a function's folder after `make` as one archive, named by its SHA-256.

It is plain tar: writing and reading it then cost a copy, so a run starts sooner, and the blob
store and the network are near. `archive.unpack_artifact` reads it, as strictly as a source.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import msgspec

from hermes.errors import FieldProblem
from hermes.packages.archive_limits import ARTIFACT_LIMITS, ArchiveLimits
from hermes.packages.errors import FolderError
from hermes.packages.tar_writer import HashingSink, write_end, write_entry
from hermes.packages.tree_reader import TreeReader


class PackedArtifact(msgspec.Struct, frozen=True):
    """An artifact: how many files, and the archive's size and SHA-256."""

    files: int
    bytes: int
    sha256: str


def pack_artifact(
    folder: Path, target: BinaryIO, limits: ArchiveLimits = ARTIFACT_LIMITS
) -> PackedArtifact:
    """Write everything in a folder that a stranger's build has left, following no link.

    Executables stay executable, other mode bits are dropped. Raises FolderError, for the build's
    owner to read, for links, special files, unfit names or too many bytes.
    """
    with TreeReader(folder) as tree:
        found = tree.walk(lambda path: False, limits.entries)
        if sum(entry.size for entry in found) > limits.unpacked:
            raise FolderError([FieldProblem(".", f"is larger than {limits.unpacked} bytes")])
        packed = HashingSink(target)
        for entry in found:
            write_entry(packed, entry, () if entry.folder else tree.contents(entry))
        write_end(packed)
    return PackedArtifact(sum(not entry.folder for entry in found), packed.bytes, packed.sha256)
