"""How a program ended, from what the sandbox left."""

from __future__ import annotations

import pytest

from infra.sandbox.cgroups import Usage
from infra.sandbox.ending import Report, conclude

USAGE = Usage(oom_kills=0, refused_forks=0, cpu_time=1.5, memory=5, peak_memory=10)


def ending(status: bytes, diagnostics: str = "", outer: int = 0, usage: Usage = USAGE):
    report = Report(status=status, diagnostics=diagnostics, outer=outer, killed=None, wall_time=2.0)
    return conclude(report, usage, None)


@pytest.mark.parametrize(
    ("status", "words", "outer", "expected"),
    [
        (b"exit 0\n", "", 0, (0, None)),
        (b"exit 255\n", "", 0, (255, None)),
        (b"exit 139\n", "Segmentation fault", 0, (None, 11)),
        (b"exit 139\n", "", 0, (139, None)),
        (b"exit 141\n", "", 0, (None, 13)),
        (b"exit 130\n", "", 0, (None, 2)),
        (b"exit 200\n", "words", 0, (200, None)),
        (b"", "", 9, (None, 9)),
        (b"", "", 0, (None, 9)),
        (b"exit 0\nexit 1\n", "", 9, (None, 9)),
        (b"exit 00000\n", "", 9, (None, 9)),
        (b"exit -1\n", "", 9, (None, 9)),
        (b"\xff" * 4096, "", 9, (None, 9)),
    ],
)
def test_status_words_and_wait_status_give_code_or_signal(
    status: bytes, words: str, outer: int, expected: tuple[int | None, int | None]
) -> None:
    ended = ending(status, words, outer)
    assert (ended.exit_code, ended.signal) == expected


def test_counters_become_reasons() -> None:
    counted = Usage(oom_kills=1, refused_forks=2, cpu_time=1.0, memory=0, peak_memory=None)
    ended = ending(b"exit 0\n", usage=counted)
    assert ended.oom and ended.processes_limited and ended.peak_memory is None
    assert not ending(b"exit 0\n").oom
