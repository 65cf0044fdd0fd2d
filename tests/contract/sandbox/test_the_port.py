"""What the agent relies on besides the walls: order of calls, reasons, names, promises."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Iterator

import pytest

from infra.sandbox.port import SandboxError
from tests.support.sandboxes import Runner


@pytest.fixture
def no_input() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDONLY)
    yield fd
    os.close(fd)


async def test_a_sandbox_works_here_and_says_what_it_promises(runner: Runner) -> None:
    assert await runner.sandbox.probe() is None
    promises = {promise.name: promise.holds for promise in runner.sandbox.guarantees()}
    assert promises["network"] and promises["host files"] and promises["time"]
    assert not promises["kernel exploits"]


async def test_the_program_does_not_start_before_go(runner: Runner, no_input: int) -> None:
    prepared = await runner.sandbox.prepare(runner.spec("/bin/echo", "on", stdin=no_input))
    await asyncio.sleep(0.5)
    with pytest.raises(BlockingIOError):
        os.read(prepared.stdout, 10)
    prepared.go()
    ended = await prepared.wait()
    assert os.read(prepared.stdout, 10) == b"on\n"
    assert ended.wall_time < 0.5, "the clock starts at go"
    await prepared.close()


async def test_what_is_prepared_of_a_forgotten_function_runs_and_it_can_be_prepared_again(
    runner: Runner, no_input: int
) -> None:
    packaged = {"artifact": uuid.uuid4().hex * 2, "function": "ana/normal:1.0.0"}
    spec = runner.spec("normal", stdin=no_input, **packaged)
    prepared = await runner.sandbox.prepare(spec)
    await runner.sandbox.forget("ana/normal:1.0.0")
    for outcome in (await runner.let_go(prepared), await runner.run("normal", **packaged)):
        assert outcome.exit.exit_code == 5
    await runner.sandbox.forget("ana/normal:1.0.0")


async def test_waiting_twice_gives_the_same_answer(runner: Runner, no_input: int) -> None:
    prepared = await runner.sandbox.prepare(runner.spec("/bin/false", stdin=no_input))
    prepared.go()
    first, second = await asyncio.gather(prepared.wait(), prepared.wait())
    assert first == second == await prepared.wait()
    assert first.exit_code == 1
    await prepared.close()


async def test_a_cancelled_wait_takes_nothing_away(runner: Runner, no_input: int) -> None:
    prepared = await runner.sandbox.prepare(runner.spec("/bin/sleep", "1", stdin=no_input))
    prepared.go()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(prepared.wait(), 0.05)
    assert (await prepared.wait()).exit_code == 0
    await prepared.close()


async def test_the_first_reason_for_a_kill_counts(runner: Runner, no_input: int) -> None:
    prepared = await runner.sandbox.prepare(runner.spec("linger", "deaf", stdin=no_input))
    prepared.go()
    await asyncio.gather(prepared.kill("output_limit", 0.1), prepared.kill("cancelled", 0.1))
    assert (await prepared.wait()).killed == "output_limit"
    await prepared.close()


async def test_a_kill_before_go_ends_it_and_go_does_nothing(runner: Runner, no_input: int) -> None:
    prepared = await runner.sandbox.prepare(runner.spec("/bin/echo", "on", stdin=no_input))
    await prepared.kill("cancelled", grace=5.0)
    prepared.go()
    ended = await prepared.wait()
    assert (ended.killed, ended.exit_code) == ("cancelled", None)
    assert os.read(prepared.stdout, 10) == b""
    await prepared.close()


async def test_a_kill_after_the_end_changes_nothing(runner: Runner, no_input: int) -> None:
    prepared = await runner.sandbox.prepare(runner.spec("/bin/true", stdin=no_input))
    prepared.go()
    await prepared.wait()
    await prepared.kill("cancelled")
    ended = await prepared.wait()
    assert (ended.killed, ended.exit_code) == (None, 0)
    await prepared.close()


async def test_close_ends_a_running_program(runner: Runner, no_input: int) -> None:
    prepared = await runner.sandbox.prepare(runner.spec("linger", "deaf", stdin=no_input))
    prepared.go()
    begin = time.monotonic()
    await asyncio.gather(prepared.close(), prepared.close())
    assert time.monotonic() - begin < 5.0


async def test_one_name_is_not_used_twice_at_a_time(runner: Runner, no_input: int) -> None:
    spec = runner.spec("/bin/true", stdin=no_input)
    prepared = await runner.sandbox.prepare(spec)
    with pytest.raises(SandboxError):
        await runner.sandbox.prepare(spec)
    prepared.go()
    assert (await prepared.wait()).exit_code == 0, "the first is not harmed by the second"
    await prepared.close()


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "a\0b", "x" * 300])
async def test_a_name_that_is_no_file_name_is_refused(
    runner: Runner, no_input: int, name: str
) -> None:
    with pytest.raises(SandboxError):
        await runner.sandbox.prepare(runner.spec("/bin/true", stdin=no_input, name=name))


@pytest.mark.parametrize("env", [{"A=B": "x"}, {"": "x"}, {"A": "x\0y"}])
async def test_an_environment_that_is_none_is_refused(
    runner: Runner, no_input: int, env: dict[str, str]
) -> None:
    with pytest.raises(SandboxError):
        await runner.sandbox.prepare(runner.spec("/bin/true", stdin=no_input, env=env))


async def test_usage_is_measured(runner: Runner) -> None:
    outcome = await runner.run("hog", "spin", limits={"cpus": 2.0})
    assert float(outcome.steps["spin"]) <= outcome.exit.cpu_time < 4.0
    outcome = await runner.run(
        "/bin/sh", "-c", "head -c 40000000 /dev/zero | tail -c 40000000 | wc -c"
    )
    assert outcome.exit.peak_memory is None or outcome.exit.peak_memory > 40_000_000
    assert outcome.exit.cpu_time > 0
