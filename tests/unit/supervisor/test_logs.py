"""Logs that are cut short under their writer's hands."""

from __future__ import annotations

from pathlib import Path

from infra.supervisor.logs import bound, tail


def test_the_writer_goes_on_in_the_same_file(tmp_path: Path) -> None:
    log = tmp_path / "role.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        bound(log, limit=10)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "role.log.1").read_bytes() == b"old\n" * 100


def test_a_short_log_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "role.log"
    log.write_bytes(b"short\n")
    bound(log, limit=10)
    bound(tmp_path / "missing.log", limit=10)
    assert log.read_bytes() == b"short\n"
    assert list(tmp_path.iterdir()) == [log]


def test_tail_gives_the_last_lines_of_anything(tmp_path: Path) -> None:
    log = tmp_path / "role.log"
    log.write_bytes(b"x" * 100_000 + b"\nlast but one\n\xff last\n")
    assert tail(log, 2) == "last but one\n\ufffd last"
    assert tail(tmp_path / "missing.log") == ""
