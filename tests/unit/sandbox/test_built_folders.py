"""What a build leaves is judged without trusting any of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.sandbox.artifact import BuildRefused, inspect_build, take_over

ELF = b"\x7fELF" + bytes(60)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/main").write_bytes(ELF)
    return folder


def test_a_program_is_accepted_and_made_executable(work: Path) -> None:
    inspect_build(work, "bin/main")
    assert (work / "bin/main").stat().st_mode & 0o7777 == 0o755


def test_a_script_is_accepted(work: Path) -> None:
    (work / "run.sh").write_text("#!/bin/sh\n")
    inspect_build(work, "run.sh")


def test_set_id_bits_of_the_handler_are_dropped(work: Path) -> None:
    (work / "bin/main").chmod(0o6755)
    inspect_build(work, "bin/main")
    assert (work / "bin/main").stat().st_mode & 0o7777 == 0o755


def to_link(work: Path) -> None:
    (work / "handler").symlink_to("bin/main")


def to_link_outside(work: Path) -> None:
    (work / "handler").symlink_to("/bin/sh")


def to_folder(work: Path) -> None:
    (work / "handler").mkdir()


def to_pipe(work: Path) -> None:
    os.mkfifo(work / "handler")


def to_socket(work: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(work / "handler"))


def to_device(work: Path) -> None:
    (work / "handler").symlink_to("/dev/zero")


def to_text(work: Path) -> None:
    (work / "handler").write_text("echo hello\n")


def to_nothing(work: Path) -> None:
    (work / "handler").write_bytes(b"")


def to_absent(work: Path) -> None:
    """No handler at all."""


@pytest.mark.parametrize(
    "make",
    [to_link, to_link_outside, to_folder, to_pipe, to_socket, to_device, to_text, to_nothing,
     to_absent],
)  # fmt: skip
def test_a_handler_that_is_no_program_is_refused(work: Path, make: Callable[[Path], None]) -> None:
    make(work)
    with pytest.raises(BuildRefused, match="handler"):
        inspect_build(work, "handler")


def test_a_link_on_the_way_to_the_handler_is_refused(work: Path) -> None:
    (work / "other").symlink_to("bin")
    with pytest.raises(BuildRefused, match="link"):
        inspect_build(work, "other/main")


@pytest.mark.parametrize("handler", ["../work/bin/main", "/bin/sh", "", "bin/../bin/main"])
def test_a_handler_outside_the_folder_is_refused(work: Path, handler: str) -> None:
    with pytest.raises(BuildRefused):
        inspect_build(work, handler)


def test_too_much_is_refused(work: Path) -> None:
    with (work / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BuildRefused, match="MiB"):
        inspect_build(work, "bin/main")


def test_too_many_files_are_refused(work: Path) -> None:
    for number in range(30):
        (work / str(number)).touch()
    with pytest.raises(BuildRefused, match="20 files"):
        inspect_build(work, "bin/main", max_files=20)


def test_a_file_that_met_its_limit_is_refused(work: Path) -> None:
    (work / "bin/main").write_bytes(ELF + bytes(4096 - len(ELF)))
    inspect_build(work, "bin/main", file_bytes=4097)
    with pytest.raises(BuildRefused, match="'bin/main' was cut off"):
        inspect_build(work, "bin/main", file_bytes=4096)


def test_too_deep_is_refused(work: Path) -> None:
    deep = work
    for _ in range(80):
        deep = deep / "d"
        deep.mkdir()
    with pytest.raises(BuildRefused, match="deep"):
        inspect_build(work, "bin/main")


def test_taking_over_keeps_content_and_drops_modes(work: Path, tmp_path: Path) -> None:
    (work / "bin/main").chmod(0o4777)
    (work / "data").write_bytes(b"x" * 3_000_000)
    (work / "data").chmod(0o666)
    (work / "lib.so").symlink_to("bin/main")
    target = tmp_path / "target"
    take_over(work, target)
    assert (target / "bin/main").stat().st_mode & 0o7777 == 0o755
    assert (target / "data").stat().st_mode & 0o7777 == 0o644
    assert (target / "data").read_bytes() == b"x" * 3_000_000
    assert not (target / "lib.so").is_symlink()
    assert (target / "lib.so").read_bytes() == ELF


@pytest.mark.parametrize("target", ["/etc/hostname", "../../secret", "nowhere", "loop", "bin"])
def test_links_that_lead_elsewhere_are_refused(work: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("of another")
    (work / "bin/loop").symlink_to(target)
    with pytest.raises(BuildRefused, match="bin/loop"):
        take_over(work, tmp_path / "target")


def test_pipes_among_the_files_are_refused(work: Path, tmp_path: Path) -> None:
    os.mkfifo(work / "pipe")
    with pytest.raises(BuildRefused, match="pipe"):
        take_over(work, tmp_path / "target")


def test_each_link_counts_as_the_copy_that_is_kept_of_it(work: Path) -> None:
    (work / "large").write_bytes(bytes(4096))
    for number in range(10):
        (work / f"link{number}").symlink_to("large")
    with pytest.raises(BuildRefused, match="left more than"):
        inspect_build(work, "bin/main", max_bytes=5 * 4096)
