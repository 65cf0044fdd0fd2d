"""Process 1 of a container has the program's user, and is out of its reach."""

from __future__ import annotations

import asyncio
import os

from tests.support.sandboxes import Runner


async def test_a_program_cannot_look_into_it_talk_through_it_or_end_it(runner: Runner) -> None:
    outcome = await runner.run("meddle")
    assert len(outcome.steps) == 18
    refusals = {
        "Permission denied",
        "Operation not permitted",
        "No such file or directory",
        "Connection refused",
        "Read-only file system",
        "Text file busy",
    }
    assert {step: how for step, how in outcome.steps.items() if how not in refusals} == {}
    assert outcome.exit.exit_code == 6


async def test_an_input_closed_by_its_owner_is_read_to_the_end(runner: Runner) -> None:
    outcome = await runner.run("/bin/cat", stdin=b"x" * 4096)
    assert outcome.stdout == b"x" * 4096


async def test_a_descriptor_of_process_one_does_not_keep_the_output_open(runner: Runner) -> None:
    stdin = os.open(os.devnull, os.O_RDONLY)
    prepared = await runner.sandbox.prepare(
        runner.spec("/bin/sh", "-c", "exec >&- 2>&-; sleep 0.5", stdin=stdin)
    )
    prepared.go()
    ended = asyncio.ensure_future(prepared.wait())
    await asyncio.sleep(0.3)
    assert os.read(prepared.stdout, 1) == b""
    assert not ended.done()
    assert (await ended).exit_code == 0
    await prepared.close()
    os.close(stdin)
