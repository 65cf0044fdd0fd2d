"""What a build leaves: packed, unpacked, and its handler checked. The build is a stranger's."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path

import pytest

from hermes.packages.archive import unpack_artifact
from hermes.packages.archive_limits import ArchiveLimits
from hermes.packages.artifact import pack_artifact
from hermes.packages.errors import ArchiveError, FolderError
from tests.support.archives import END, block

ELF = b"\x7fELF" + bytes(60)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "built"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/main.out").write_bytes(ELF)
    (folder / "bin/main.out").chmod(0o4711)
    (folder / "data.bin").write_bytes(os.urandom(300_000))
    return folder


def test_an_artifact_is_unpacked_as_it_was_without_special_modes(
    built: Path, tmp_path: Path
) -> None:
    target = io.BytesIO()
    artifact = pack_artifact(built, target)
    assert artifact.sha256 == hashlib.sha256(target.getvalue()).hexdigest()
    assert artifact.bytes == len(target.getvalue())
    unpacked = unpack_artifact(io.BytesIO(target.getvalue()), tmp_path / "out")
    assert (unpacked.files, unpacked.bytes) == (2, 300_064)
    assert (tmp_path / "out/data.bin").read_bytes() == (built / "data.bin").read_bytes()
    assert (tmp_path / "out/bin/main.out").stat().st_mode & 0o7777 == 0o755


def test_the_same_build_has_the_same_name(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "copy")
    one, two = io.BytesIO(), io.BytesIO()
    assert pack_artifact(built, one) == pack_artifact(tmp_path / "copy", two)


def test_links_out_of_the_build_are_refused_and_not_followed(built: Path) -> None:
    (built / "shadow").symlink_to("/etc/shadow")
    (built / "etc").symlink_to("/etc")
    with pytest.raises(FolderError) as caught:
        pack_artifact(built, io.BytesIO())
    assert [problem.field for problem in caught.value.problems] == ["etc", "shadow"]


def test_a_build_too_large_is_refused(built: Path) -> None:
    with pytest.raises(FolderError, match="larger than 1000 bytes"):
        pack_artifact(built, io.BytesIO(), ArchiveLimits(packed=9**9, unpacked=1000, entries=10))


def test_a_damaged_artifact_is_refused_and_leaves_nothing(tmp_path: Path, built: Path) -> None:
    target = io.BytesIO()
    pack_artifact(built, target)
    for data in (target.getvalue()[:-700], target.getvalue() + b"x", block("../x") + END, b""):
        with pytest.raises(ArchiveError):
            unpack_artifact(io.BytesIO(data), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["built"]
