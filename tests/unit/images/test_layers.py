"""Layers: the same bytes for the same files, and only what belongs there."""

from __future__ import annotations

import os
import socket
import tarfile
from pathlib import Path

import pytest

from infra.images.layers import pack_folder, unpackable
from infra.images.rootfs import EPOCH


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "folder"
    (top / "b").mkdir(parents=True)
    (top / "b" / "file").write_text("content")
    (top / "a").write_text("first")
    (top / "link").symlink_to("/anywhere/at all")
    return top


def names(layer: Path) -> list[str]:
    with tarfile.open(layer) as tar:
        return tar.getnames()


def member(layer: Path, name: str) -> tarfile.TarInfo:
    with tarfile.open(layer) as tar:
        return tar.getmember(name)


def test_a_layer_depends_on_nothing_but_the_files(folder: Path, tmp_path: Path) -> None:
    first = pack_folder(folder, tmp_path / "1.tar")
    other = tmp_path / "other"
    (other / "b").mkdir(parents=True)
    (other / "link").symlink_to("/anywhere/at all")
    (other / "a").write_text("first")
    (other / "b" / "file").write_text("content")
    os.utime(other / "a", (1, 1))
    assert pack_folder(other, tmp_path / "2.tar").diff_id == first.diff_id
    assert first.size == (tmp_path / "1.tar").stat().st_size

    (other / "a").write_text("changed")
    assert pack_folder(other, tmp_path / "3.tar").diff_id != first.diff_id


def test_names_are_sorted_and_times_are_one(folder: Path, tmp_path: Path) -> None:
    pack_folder(folder, tmp_path / "layer.tar")
    with tarfile.open(tmp_path / "layer.tar") as tar:
        assert tar.getnames() == ["a", "b", "b/file", "link"]
        assert {info.mtime for info in tar} == {EPOCH}
        assert tar.getmember("link").linkname == "/anywhere/at all"


def test_a_layer_may_lie_at_a_place_of_its_own(folder: Path, tmp_path: Path) -> None:
    pack_folder(folder, tmp_path / "layer.tar", at="/opt/cuda")
    assert names(tmp_path / "layer.tar")[:3] == ["opt", "opt/cuda", "opt/cuda/a"]
    assert member(tmp_path / "layer.tar", "opt/cuda").mode == 0o755


def test_set_user_and_set_group_bits_never_get_into_a_layer(folder: Path, tmp_path: Path) -> None:
    (folder / "a").chmod(0o6751)
    (folder / "b").chmod(0o2775)
    pack_folder(folder, tmp_path / "kept.tar")
    assert member(tmp_path / "kept.tar", "a").mode == 0o751
    assert member(tmp_path / "kept.tar", "b").mode == 0o775

    pack_folder(folder, tmp_path / "plain.tar", plain=True)
    assert member(tmp_path / "plain.tar", "a").mode == 0o755
    assert member(tmp_path / "plain.tar", "b").mode == 0o755
    assert member(tmp_path / "plain.tar", "b/file").mode == 0o644


def test_a_plain_layer_belongs_to_root(folder: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder / "a", 1234, 5678)
    pack_folder(folder, tmp_path / "layer.tar", plain=True)
    found = member(tmp_path / "layer.tar", "a")
    assert (found.uid, found.gid, found.uname, found.gname) == (0, 0, "", "")


def test_pipes_sockets_and_devices_are_left_out(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        pack_folder(folder, tmp_path / "layer.tar")
    assert names(tmp_path / "layer.tar") == ["a", "b", "b/file", "link"]


def test_a_file_with_two_names_is_packed_once(folder: Path, tmp_path: Path) -> None:
    (folder / "c").hardlink_to(folder / "a")
    pack_folder(folder, tmp_path / "layer.tar")
    found = member(tmp_path / "layer.tar", "c")
    assert (found.islnk(), found.linkname) == (True, "a")


def test_a_layer_over_another_holds_the_differences_only(folder: Path, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    (lower / "b" / "deep").mkdir(parents=True)
    (lower / "b" / "deep" / "gone").write_text("gone")
    (lower / "b" / "file").write_text("other!!")
    (lower / "a").write_text("first")
    (lower / "link").symlink_to("elsewhere")
    os.utime(lower / "a", (1, 1))
    pack_folder(folder, tmp_path / "layer.tar", over=lower)
    assert names(tmp_path / "layer.tar") == ["b/file", "link", "b/.wh.deep"]


def test_a_file_in_the_place_of_a_folder_is_a_difference(folder: Path, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    (lower / "a" / "inner").mkdir(parents=True)
    pack_folder(folder, tmp_path / "layer.tar", over=lower)
    assert "a" in names(tmp_path / "layer.tar")
    assert "a/.wh.inner" not in names(tmp_path / "layer.tar")


def test_only_what_is_selected_is_packed(folder: Path, tmp_path: Path) -> None:
    pack_folder(folder, tmp_path / "layer.tar", select=lambda path: path.startswith("b"))
    assert names(tmp_path / "layer.tar") == ["b", "b/file"]


@pytest.mark.parametrize(
    "name", [".wh..", ".wh...", ".wh.x", ".wh..wh..opq", "b/.wh.", "b/.wh.d/x"]
)
def test_a_name_that_would_hide_another_is_in_no_layer(
    folder: Path, tmp_path: Path, name: str
) -> None:
    assert unpackable(folder) is None
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("here")
    found = unpackable(folder)
    assert found is not None and name.startswith(found)
    with pytest.raises(OSError, match="cannot hold"):
        pack_folder(folder, tmp_path / "layer.tar")


def test_a_name_that_only_looks_like_it_is_packed(folder: Path, tmp_path: Path) -> None:
    (folder / "a.wh.x").write_text("here")
    (folder / ".whatever").write_text("here")
    assert unpackable(folder) is None
    pack_folder(folder, tmp_path / "layer.tar")
    assert {"a.wh.x", ".whatever"} <= set(names(tmp_path / "layer.tar"))
