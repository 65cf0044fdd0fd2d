"""Folders as the CLI packs them."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

from hermes.packages.archive import unpack, validate
from hermes.packages.archive_limits import SOURCE_LIMITS, ArchiveLimits
from hermes.packages.config import parse_config
from hermes.packages.errors import ConfigError, FolderError
from hermes.packages.pack import PackedPackage, pack, read_folder_config
from hermes.packages.tree_reader import TreeReader
from tests.support.archives import config_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "waiter"
    write(folder, "hermes.config.json", config_bytes())
    write(folder, "Makefile", b"main.out:\n\ttouch main.out\n")
    write(folder, "src/main.cpp", b"int main() {}\n")
    return folder


def write(folder: Path, path: str, data: bytes = b"", mode: int = 0o644) -> None:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(mode)


def packed(folder: Path, limits: ArchiveLimits = SOURCE_LIMITS) -> tuple[PackedPackage, bytes]:
    target = io.BytesIO()
    return pack(folder, target, limits), target.getvalue()


def names(folder: Path, tmp_path: Path) -> set[str]:
    """What comes out of the folder's package."""
    out = tmp_path / "names"
    unpack(io.BytesIO(packed(folder)[1]), out)
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def refused(folder: Path, limits: ArchiveLimits = SOURCE_LIMITS) -> dict[str, str]:
    with pytest.raises(FolderError) as caught:
        packed(folder, limits)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_a_packed_folder_is_unpacked_as_it_was(folder: Path, tmp_path: Path) -> None:
    write(folder, "tools/gen.sh", b"#!/bin/sh\n", 0o755)
    write(folder, "a" * 120 + "/é" * 10, bytes(range(256)) * 3000)
    (folder / "empty").mkdir()
    package, data = packed(folder)
    unpacked = unpack(io.BytesIO(data), tmp_path / "out")
    assert subprocess.run(["diff", "-r", folder, tmp_path / "out"], check=False).returncode == 0
    assert os.access(tmp_path / "out/tools/gen.sh", os.X_OK)
    assert not os.access(tmp_path / "out/Makefile", os.X_OK)
    assert (package.config, package.files) == (unpacked.config, unpacked.files)
    assert package.config == parse_config(config_bytes())
    assert (package.bytes, package.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_same_contents_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    write(other, "src/main.cpp", b"int main() {}\n", 0o600)
    write(other, "Makefile", b"main.out:\n\ttouch main.out\n", 0o666)
    write(other, "hermes.config.json", config_bytes(), 0o640)
    os.utime(other / "Makefile", (1, 1))
    assert packed(folder) == packed(other)


def test_tar_itself_can_read_a_package(folder: Path) -> None:
    listing = subprocess.run(
        ["tar", "-tzf", "-"], input=packed(folder)[1], capture_output=True, check=True
    )
    assert listing.stdout.decode().split() == [
        "Makefile",
        "hermes.config.json",
        "src/",
        "src/main.cpp",
    ]


def test_hermesignore_follows_the_rules_of_gitignore(folder: Path, tmp_path: Path) -> None:
    write(folder, ".hermesignore", b"# results\n*.out\n!keep.out\n/build/\nlogs/**/*.txt\n\\#x\n")
    for path in ("a.out", "src/b.out", "keep.out", "build/keep.out", "src/build/c", "#x"):
        write(folder, path)
    for path in ("logs/a/b.txt", "logs/a/b.csv"):
        write(folder, path)
    assert names(folder, tmp_path) == {
        ".hermesignore",
        "hermes.config.json",
        "Makefile",
        "src/main.cpp",
        "keep.out",
        "src/build/c",
        "logs/a/b.csv",
    }


def test_git_data_stays_out_even_if_the_ignore_file_asks_for_it(
    folder: Path,
) -> None:
    write(folder, ".hermesignore", b"!.git\n!.git/**\n")
    write(folder, ".git/config")
    write(folder, "lib/.git", b"gitdir: ../.git/modules/lib\n")
    write(folder, ".gitignore")
    with tarfile.open(fileobj=io.BytesIO(packed(folder)[1])) as tar:
        listed = tar.getnames()
    assert ".gitignore" in listed
    assert not [name for name in listed if ".git" in name.split("/")]


def test_an_ignored_link_is_no_problem(folder: Path) -> None:
    (folder / "latest").symlink_to("/etc")
    write(folder, ".hermesignore", b"latest\n")
    packed(folder)


@pytest.mark.parametrize("data", [b"\xff", b"x\n" * 200_000])
def test_an_ignore_file_that_cannot_be_read_is_refused(data: bytes, folder: Path) -> None:
    write(folder, ".hermesignore", data)
    assert list(refused(folder)) == [".hermesignore"]


def test_a_bad_pattern_is_refused(folder: Path) -> None:
    write(folder, ".hermesignore", b"!\n")
    assert "pattern" in refused(folder)[".hermesignore"]


def test_links_pipes_and_sockets_are_named(folder: Path) -> None:
    (folder / "link").symlink_to("Makefile")
    (folder / "src/dangling").symlink_to("/nowhere")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        problems = refused(folder)
    assert list(problems) == ["link", "pipe", "socket", "src/dangling"]
    assert "symbolic link" in problems["link"]
    assert "pipe" in problems["pipe"]


def test_names_that_other_systems_take_for_one_are_refused(folder: Path) -> None:
    write(folder, "SRC/other.cpp")
    assert "same name" in str(refused(folder).values())


@pytest.mark.parametrize("name", [b"a\nb", b"caf\xe9", "a\u202eb".encode()])
def test_unfit_names_are_refused_with_a_printable_message(name: bytes, folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).touch()
    (field,) = refused(folder)
    assert field.isprintable()


def test_a_folder_without_config_or_makefile_is_refused(folder: Path) -> None:
    (folder / "Makefile").unlink()
    assert list(refused(folder)) == ["Makefile"]
    (folder / "hermes.config.json").unlink()
    assert "hermes function init" in refused(folder)["hermes.config.json"]


def test_config_and_makefile_must_not_be_ignored(folder: Path) -> None:
    write(folder, ".hermesignore", b"Makefile\n*.json\n")
    problems = refused(folder)
    assert list(problems) == ["hermes.config.json", "Makefile"]
    assert ".hermesignore" in problems["Makefile"]


@pytest.mark.parametrize("name", ["hermes.config.json", "Makefile", ".hermesignore"])
def test_a_link_or_folder_in_a_required_files_place_is_refused(name: str, folder: Path) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/etc/hostname")
    assert name in refused(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    assert name in refused(folder)


def test_a_wrong_config_is_told_field_by_field(folder: Path) -> None:
    write(folder, "hermes.config.json", config_bytes(language="c"))
    for read in (packed, read_folder_config):
        with pytest.raises(ConfigError) as caught:
            read(folder)
        assert [problem.field for problem in caught.value.problems] == ["language"]


def test_a_folder_that_is_not_there_or_no_folder_is_refused(folder: Path) -> None:
    assert "No such file" in str(refused(folder / "nowhere"))
    assert "Not a directory" in str(refused(folder / "Makefile"))


@pytest.mark.parametrize("size", [0, 13, 15, 2000])
def test_a_file_that_changes_while_being_packed_is_refused(size: int, folder: Path) -> None:
    with TreeReader(folder) as tree:
        (found,) = (
            entry for entry in tree.walk(lambda path: False, 100) if entry.path == "src/main.cpp"
        )
        assert b"".join(tree.contents(found)) == b"int main() {}\n"
        write(folder, "src/main.cpp", bytes(size))
        with pytest.raises(FolderError, match="changed"):
            list(tree.contents(found))


def test_a_file_swapped_for_a_link_while_being_packed_is_refused(folder: Path) -> None:
    with TreeReader(folder) as tree:
        found = {entry.path: entry for entry in tree.walk(lambda path: False, 100)}
        (folder / "src").rename(folder / "moved")
        (folder / "src").symlink_to("moved")
        with pytest.raises(FolderError, match=r"main\.cpp"):
            list(tree.contents(found["src/main.cpp"]))


def test_the_largest_files_of_a_folder_too_large_are_named(folder: Path) -> None:
    for number in range(8):
        write(folder, f"data{number}", bytes(1000 * number))
    small = ArchiveLimits(packed=10_000, unpacked=20_000, entries=100)
    problems = refused(folder, small)
    assert list(problems)[1:] == ["data7", "data6", "data5", "data4", "data3"]
    assert problems["data7"] == "7000 bytes"


def test_a_folder_too_large_when_packed_is_refused(folder: Path) -> None:
    write(folder, "noise", os.urandom(20_000))
    small = ArchiveLimits(packed=10_000, unpacked=100_000, entries=100)
    assert "noise" in refused(folder, small)


def test_a_sparse_terabyte_is_refused_without_being_read(folder: Path) -> None:
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert "sparse" in refused(folder)


def test_a_folder_with_too_many_files_is_refused(folder: Path) -> None:
    for number in range(20):
        write(folder, f"f{number}")
    few = ArchiveLimits(packed=10_000, unpacked=20_000, entries=10)
    assert "more than 10" in refused(folder, few)["."]


def test_a_folder_deeper_than_the_limit_is_refused(folder: Path) -> None:
    write(folder, "d/" * 33 + "x")
    assert "deeper" in str(refused(folder).values())


@pytest.mark.parametrize("path", sorted(Path("examples/functions").iterdir()), ids=lambda p: p.name)
def test_every_example_is_a_valid_package(path: Path) -> None:
    package, data = packed(path)
    assert validate(io.BytesIO(data)).config == package.config
