"""Archives that are accepted, and what stands on the disk afterwards."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from hermes.packages.archive import UnpackedPackage, unpack, validate
from hermes.packages.config import parse_config
from hermes.packages.errors import ConfigError
from hermes.packages.tree_writer import TreeWriter
from tests.support.archives import (
    END,
    archive_by_tarfile,
    block,
    config_bytes,
    function_archive,
    function_blocks,
    pax,
)

FILES = {"hermes.config.json": config_bytes(), "Makefile": b"all:\n"}


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below `folder` with its contents, None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_archives_of_every_tar_format_are_unpacked(tar_format: int, tmp_path: Path) -> None:
    files = FILES | {"src/" + "d" * 90 + "/" + "é" * 30 + ".cpp": b"int main() {}\n"}
    data = archive_by_tarfile(files, format=tar_format)
    package = unpack(io.BytesIO(data), tmp_path / "out")
    assert package.files == 3
    assert package.bytes == sum(map(len, files.values()))
    unpacked = tree(tmp_path / "out")
    assert {path: data for path, data in unpacked.items() if data is not None} == files


def test_checking_and_unpacking_give_the_same_answer(tmp_path: Path) -> None:
    data = function_archive(block("x", b"12345"))
    package = UnpackedPackage(parse_config(config_bytes()), 3, len(config_bytes()) + 10 + 5)
    (tmp_path / "a.tar.gz").write_bytes(data)
    assert validate(tmp_path / "a.tar.gz") == package
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "out") == package


def test_an_archive_made_of_the_current_folder_is_accepted(tmp_path: Path) -> None:
    data = gzip.compress(
        block(".", kind=b"5")
        + block("./hermes.config.json", config_bytes())
        + block("./Makefile")
        + block("./src/", kind=b"5")
        + block("./src/main.cpp", b"x")
        + END
    )
    unpack(io.BytesIO(data), tmp_path / "out")
    assert set(tree(tmp_path / "out")) == {"hermes.config.json", "Makefile", "src", "src/main.cpp"}


def test_a_folder_may_be_listed_after_what_is_in_it(tmp_path: Path) -> None:
    data = function_archive(block("src/a", b"1"), block("src/", kind=b"5"), block("src/b", b"2"))
    unpack(io.BytesIO(data), tmp_path / "out")
    assert tree(tmp_path / "out")["src/b"] == b"2"


def test_global_comments_as_git_archive_writes_them_are_accepted() -> None:
    comment = pax({"comment": "a" * 40}, kind=b"g")
    assert validate(io.BytesIO(gzip.compress(comment + function_blocks() + END))).files == 2


def test_times_owners_and_extended_attributes_are_dropped(tmp_path: Path) -> None:
    extra = pax({"mtime": "1.5", "uid": "0", "SCHILY.xattr.user.x": "y", "uname": "root"})
    unpack(io.BytesIO(function_archive(extra, block("x", b"1"))), tmp_path / "out")
    status = (tmp_path / "out/x").stat()
    assert status.st_uid == os.getuid()
    assert status.st_mtime > 1_000_000
    assert os.listxattr(tmp_path / "out/x") == []


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o600, 0o644), (0o777, 0o755), (0o4755, 0o755), (0o2711, 0o755), (0o1666, 0o644), (0, 0o644)],
)
def test_modes_become_0644_or_0755_whatever_the_umask(
    mode: int, expected: int, tmp_path: Path
) -> None:
    umask = os.umask(0o077)
    try:
        data = function_archive(block("d/x", b"1", mode=mode), block("e", kind=b"5", mode=0))
        unpack(io.BytesIO(data), tmp_path / "out")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out/d/x").stat().st_mode) == expected
    for folder in ("", "d", "e"):
        assert stat.S_IMODE((tmp_path / "out" / folder).stat().st_mode) == 0o755


def test_git_folders_are_left_out(tmp_path: Path) -> None:
    data = function_archive(
        block(".git/config", b"[core]"), block("lib/.git", b"gitdir: x"), block(".gitignore")
    )
    assert unpack(io.BytesIO(data), tmp_path / "out").files == 3
    assert set(tree(tmp_path / "out")) == {"hermes.config.json", "Makefile", ".gitignore"}


def test_a_wrong_config_is_told_field_by_field_and_leaves_nothing(tmp_path: Path) -> None:
    data = function_archive(config=config_bytes(language="c", handler="/x"))
    for read in (validate, lambda source: unpack(source, tmp_path / "out")):
        with pytest.raises(ConfigError) as caught:
            read(io.BytesIO(data))
        assert [problem.field for problem in caught.value.problems] == ["language", "handler"]
    assert list(tmp_path.iterdir()) == []


def test_a_target_with_something_in_it_is_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        unpack(io.BytesIO(function_archive()), target)
    assert tree(tmp_path) == {"out": None, "out/mine": b"mine"}


def test_the_writer_replaces_nothing_and_follows_no_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "file").write_bytes(b"mine")
    (root / "folder").symlink_to(outside)
    (root / "dangling").symlink_to(outside / "new")
    (root / "there").write_bytes(b"there")
    with TreeWriter(root) as writer:
        for path in ("folder/x", "folder/file", "dangling", "there", "there/x"):
            with pytest.raises(OSError, match=r"exists|directory|symbolic"):
                writer.file(path, [b"new"], executable=False)
    assert tree(outside) == {"file": b"mine"}
    assert (root / "there").read_bytes() == b"there"


def test_a_large_file_of_zeros_is_accepted_below_the_free_amount(tmp_path: Path) -> None:
    data = function_archive(block("zeros", bytes(15 * 1024 * 1024)))
    unpack(io.BytesIO(data), tmp_path / "out")
    assert (tmp_path / "out/zeros").stat().st_size == 15 * 1024 * 1024
