"""A build that is cancelled while its sources are copied: no thread of ours goes on by itself."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from infra.sandbox import tree
from tests.support.sandboxes import Runner


@pytest.mark.parametrize("cancels", [1, 3])
async def test_nothing_is_released_under_the_thread_that_copies(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cancels: int
) -> None:
    (tmp_path / "source").mkdir(mode=0o755)
    (tmp_path / "source" / "Makefile").write_text("all:\n")
    copying, may_go_on = threading.Event(), threading.Event()
    seen: list[tuple[bool, bool]] = []
    copy = tree.copy

    def slow(source: int, target: int, owner: int | None = None) -> None:
        before = os.fstat(source), os.fstat(target)
        copying.set()
        assert may_go_on.wait(20)
        try:
            after = os.fstat(source), os.fstat(target)
        except OSError:
            seen.append((False, False))
        else:
            seen.append((before[0] == after[0], before[1].st_dev == after[1].st_dev))
            copy(source, target, owner)

    monkeypatch.setattr(tree, "copy", slow)
    with open(os.devnull) as stdin:  # noqa: PTH123
        spec = runner.spec(
            "/bin/true", kind="build", function_dir=tmp_path / "source", stdin=stdin.fileno()
        )
        starting = asyncio.create_task(runner.sandbox.prepare(spec))
        assert await asyncio.to_thread(copying.wait, 20)
        for _ in range(cancels):
            starting.cancel()
            await asyncio.sleep(0.05)
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert seen == [(True, True)]
    assert await runner.sandbox.reap(()) == []
