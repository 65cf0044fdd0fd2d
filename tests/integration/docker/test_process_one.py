"""Process 1 of a container has the program's user, and is out of its reach."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from infra.sandbox import lifetime
from infra.sandbox.docker.channel import Channel
from infra.sandbox.port import Undying
from tests.support.sandboxes import Runner, members_of


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
    stdin, ours = os.pipe()
    script = "exec >&- 2>&-; read line; exit 4"
    prepared = await runner.sandbox.prepare(runner.spec("/bin/sh", "-c", script, stdin=stdin))
    prepared.go()
    ended = asyncio.ensure_future(prepared.wait())
    os.set_blocking(prepared.stdout, True)
    assert await asyncio.wait_for(asyncio.to_thread(os.read, prepared.stdout, 1), 5) == b""
    assert not ended.done()
    os.write(ours, b"go on\n")
    assert (await ended).exit_code == 4
    await prepared.close()
    os.close(stdin)
    os.close(ours)


async def test_what_does_not_die_keeps_what_it_holds(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    departures = runner.sandbox._departures  # type: ignore[attr-defined]
    await departures.flush(10.0)
    users = runner.sandbox._users  # type: ignore[attr-defined]
    owner = runner.sandbox._owner  # type: ignore[attr-defined]
    spec = runner.spec("linger", "deaf", stdin=os.open(os.devnull, os.O_RDONLY))
    prepared = await runner.sandbox.prepare(spec)
    free = len(users._free)
    prepared.go()
    # As if stuck in a driver's call: nothing ends it.
    monkeypatch.setattr(lifetime, "KILL_PATIENCE", 0.1)
    monkeypatch.setattr(Channel, "kill", lambda _: None)
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)
    with pytest.raises(Undying, match="does not die"):
        await prepared.kill("cancelled")
    with pytest.raises(Undying, match="does not die"):
        await prepared.close()
    assert len(users._free) == free
    assert members_of(owner)
    monkeypatch.undo()
    await prepared.close()
    await departures.flush(10.0)
    os.close(spec.stdin)
    assert len(users._free) == free + 1
    assert not members_of(owner)
