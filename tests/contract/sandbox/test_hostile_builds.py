"""Makefiles that attack: they end within their limits and reach nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from infra.sandbox.artifact import BuildRefused, inspect_build
from infra.sandbox.port import MIB, SandboxExit
from tests.support.sandboxes import Runner

LIMITS = {"time": 4.0, "memory": 256 * MIB, "processes": 40, "work_bytes": 48 * MIB}

Build = Callable[..., Awaitable[tuple[SandboxExit, str, list[str]]]]


@pytest.fixture
def build(runner: Runner, tmp_path: Path) -> Build:
    """Build a Makefile's text: how it ended, what it said, why its folder is refused."""

    async def run(makefile: str, **limits: float) -> tuple[SandboxExit, str, list[str]]:
        source = tmp_path / "source"
        source.mkdir(mode=0o755)
        (source / "Makefile").write_text(makefile)
        stdin = os.open(os.devnull, os.O_RDONLY)
        spec = runner.spec(
            "/bin/sh", "-c", "make 2>&1 | head -c 65536", kind="build", keep_work=True,
            function_dir=source, stdin=stdin, limits={**LIMITS, **limits},
        )  # fmt: skip
        prepared = await runner.sandbox.prepare(spec)
        try:
            prepared.go()
            ended = await asyncio.wait_for(prepared.wait(), 20)
            said = os.read(prepared.stdout, 1 << 20).decode("utf-8", "replace")
            refusals = []
            try:
                assert prepared.work is not None
                inspect_build(prepared.work, "main", max_bytes=32 * MIB, max_files=100)
            except BuildRefused as refused:
                refusals.append(str(refused))
        finally:
            await prepared.close()
            os.close(stdin)
        return ended, said, refusals

    return run


async def test_endless_recipes_time_out(build: Build) -> None:
    ended, _, _ = await build("all:\n\t@while :; do sleep 1; done\n", time=0.5)
    assert ended.timed_out


async def test_an_endless_shell_call_while_reading_times_out(build: Build) -> None:
    ended, _, _ = await build("X := $(shell sleep 60)\nall:\n", time=0.5)
    assert ended.timed_out


@pytest.mark.parametrize(
    "command",
    ["echo x > /etc/passwd", "touch /usr/bin/x", "rm -rf /usr/bin/make",
     "echo > /proc/sys/vm/swappiness",
     "ln -sf /etc/shadow main && cat main", "printf '#include \"/etc/shadow\"' | gcc -E -x c -",
     "printf '.incbin \"/etc/shadow\"' | gcc -c -x assembler - -o main", "mknod disk b 254 0",
     "mount -t tmpfs none /tmp", "chroot /tmp", "unshare -r true", "su -c id"],
)  # fmt: skip
async def test_a_recipe_that_reaches_out_fails(build: Build, command: str) -> None:
    _, said, refusals = await build(f"all:\n\t{command}\n\t@echo REACHED\n")
    assert "REACHED" not in said, said
    assert "Error" in said
    assert refusals


async def test_deleting_everything_deletes_only_the_builds_own_folder(build: Build) -> None:
    await build("all:\n\t-rm -rf --no-preserve-root / 2>/dev/null\n")
    assert Path("/usr/bin/make").exists()


async def test_a_huge_artifact_meets_the_end_of_the_folder(build: Build) -> None:
    _, said, refusals = await build(
        "all:\n\tdd if=/dev/zero of=main bs=1M count=5000; chmod +x main\n"
    )
    assert "No space left" in said
    assert "MiB" in refusals[0], "a truncated program is not taken for a whole one"


async def test_many_files_meet_the_folders_count(build: Build) -> None:
    _, _, refusals = await build("all:\n\t@seq 1 5000 | xargs touch\n")
    assert "files" in refusals[0]


async def test_make_with_all_its_jobs_is_no_fork_bomb(build: Build) -> None:
    makefile = "all: $(shell seq 1 300)\n%: ; @sleep 30\n.PHONY: all\nMAKEFLAGS += -j\n"
    ended, said, _ = await build(makefile, time=3.0)
    assert ended.processes_limited
    assert ended.timed_out or "Resource temporarily unavailable" in said


async def test_a_background_process_ends_with_the_build(build: Build) -> None:
    makefile = "all:\n\t(setsid sleep 30 >/dev/null 2>&1 &)\n\tprintf '#!/bin/sh\\n' > main\n"
    ended, _, refusals = await build(makefile, time=20.0)
    assert ended.exit_code == 0
    assert ended.wall_time < 10.0
    assert refusals == []


async def test_including_an_endless_file_ends(build: Build) -> None:
    ended, said, refusals = await build(
        "all:\n\techo '#include \"/dev/zero\"' | gcc -c -x c - -o main\n"
    )
    assert ended.oom or ended.timed_out or "rror" in said
    assert refusals
