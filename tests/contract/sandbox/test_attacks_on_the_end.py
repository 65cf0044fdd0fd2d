"""Programs that do not want to end, or end in odd ways: afterwards nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from infra.sandbox.port import Prepared
from tests.support.sandboxes import (
    Runner,
    catches,
    ignores,
    is_named,
    programs_of,
    until_a_program,
    until_empty,
)

OWNER = f"contract-{os.getpid()}"


async def test_a_program_deaf_to_sigterm_is_killed_after_the_grace(runner: Runner) -> None:
    async def cancel(prepared: Prepared) -> None:
        await until_a_program(OWNER, ignores(signal.SIGTERM))
        await prepared.kill("cancelled", grace=0.3)

    outcome = await runner.run("linger", "deaf", during=cancel)
    assert outcome.exit.killed == "cancelled"
    assert outcome.exit.signal == signal.SIGKILL
    assert 0.3 <= outcome.exit.wall_time < 5.0


async def test_a_program_that_listens_ends_by_sigterm_at_once(runner: Runner) -> None:
    async def cancel(prepared: Prepared) -> None:
        await until_a_program(OWNER, is_named("linger"))
        await prepared.kill("cancelled", grace=20.0)

    outcome = await runner.run("linger", "sleep", during=cancel)
    assert outcome.exit.signal == signal.SIGTERM
    assert outcome.exit.wall_time < 5.0


async def test_a_program_may_tidy_up_on_sigterm(runner: Runner) -> None:
    async def cancel(prepared: Prepared) -> None:
        await until_a_program(OWNER, catches(signal.SIGTERM))
        await prepared.kill("cancelled", grace=5.0)

    script = "trap 'echo tidy; exit 3' TERM; while :; do sleep 0.05; done"
    outcome = await runner.run("/bin/sh", "-c", script, during=cancel)
    assert outcome.stdout == b"tidy\n"
    assert outcome.exit.exit_code == 3
    assert outcome.exit.killed == "cancelled"


async def test_a_sleeper_times_out(runner: Runner) -> None:
    outcome = await runner.run("linger", "sleep", limits={"time": 0.5})
    assert outcome.exit.timed_out
    assert outcome.exit.signal == signal.SIGKILL
    assert 0.5 <= outcome.exit.wall_time < 5.0


async def test_a_daemon_does_not_outlive_the_main_program(runner: Runner) -> None:
    outcome = await runner.run("linger", "daemon")
    assert outcome.steps["daemon"] == "left behind"
    assert outcome.exit.exit_code == 0
    assert outcome.exit.wall_time < 5.0
    assert programs_of(OWNER) == set()
    await until_empty(OWNER)


async def test_closing_the_output_is_not_the_end(runner: Runner) -> None:
    outcome = await runner.run("linger", "silent")
    assert outcome.exit.exit_code == 7
    assert outcome.exit.wall_time >= 0.7


async def test_process_one_cannot_be_ended_from_inside(runner: Runner) -> None:
    outcome = await runner.run("linger", "brother")
    assert outcome.steps["brother"] == "alive"
    assert outcome.exit.exit_code == 5


@pytest.mark.parametrize("name", ["SEGV", "ABRT", "TERM", "INT", "PIPE", "KILL", "FPE"])
async def test_a_death_by_signal_is_told_from_an_exit_code(runner: Runner, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    outcome = await runner.run("/bin/sh", "-c", f"kill -{name} $$")
    assert (outcome.exit.exit_code, outcome.exit.signal) == (None, number)
    assert outcome.stderr == b""


async def test_an_exit_code_above_128_stays_one(runner: Runner) -> None:
    outcome = await runner.run("/bin/sh", "-c", "exit 139")
    assert (outcome.exit.exit_code, outcome.exit.signal) == (139, None)


async def test_a_program_that_is_not_there_ends_with_127(runner: Runner) -> None:
    outcome = await runner.run("/fn/missing")
    assert outcome.exit.exit_code == 127
    assert b"/fn/missing" in outcome.stderr


async def test_an_unread_flood_waits_and_is_killed(runner: Runner) -> None:
    spec = runner.spec("/bin/sh", "-c", "yes", stdin=os.open(os.devnull, os.O_RDONLY))
    prepared = await runner.sandbox.prepare(spec)
    prepared.go()
    await asyncio.sleep(0.3)
    await prepared.kill("output_limit")
    ended = await prepared.wait()
    await prepared.close()
    os.close(spec.stdin)
    assert ended.killed == "output_limit"
