"""One attempt on its agent: every way in, and every way out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from hermes.domain.resources import Limits
from hermes.errors import HermesError, InvalidInput, NotFound, Unavailable
from infra.sandbox.port import SandboxError
from streams.agent import attempt as attempt_module
from streams.agent.attempt import GRACE, Attempt
from tests.unit.streams.fake_host import (
    FakeHost,
    FakePrepared,
    a_scheduled,
    an_exit,
)


@pytest.fixture
def parts(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def attempting(
    parts: FakeHost, **changes: Any
) -> AsyncIterator[tuple[Attempt, asyncio.Task[None]]]:
    """An attempt whose task has begun; at the end it must be over, with nothing left open."""
    before = open_files()
    attempt = Attempt(parts.host, *a_scheduled(**changes))
    task = asyncio.create_task(attempt.run())
    try:
        yield attempt, task
        async with asyncio.timeout(5):
            await asyncio.wait({task})
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    await asyncio.sleep(0.01)
    assert parts.artifacts.held == 0
    assert parts.sandbox.prepared is None or parts.sandbox.prepared.closed
    assert open_files() == before


async def until(condition: Any, timeout: float = 3.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.002)


async def running(parts: FakeHost, attempt: Attempt) -> FakePrepared:
    attempt.claim_accepted()
    await until(lambda: parts.sandbox.prepared is not None and parts.sandbox.prepared.went)
    assert parts.sandbox.prepared is not None
    return parts.sandbox.prepared


async def test_a_run_is_claimed_started_and_finished(parts: FakeHost) -> None:
    async with attempting(parts) as (attempt, _):
        program = await running(parts, attempt)
        os.write(program.out, b"hello")
        await until(lambda: parts.output.sent)
        program.end(an_exit(exit_code=3))
    assert parts.events.kinds == ["claimed", "started", "finished"]
    claimed, started, finished = (data for _, data in parts.events.events)
    assert (claimed["attempt"], claimed["agent"], claimed["incarnation"]) == (1, "a1", "i1")
    assert started["output_offset"] == 10 + started["output_partition"]
    assert (finished["outcome"], finished["exit_code"], finished["last_seq"]) == ("failed", 3, 0)
    assert finished["output"]["stdout"]["bytes"] == 5
    assert parts.output.sent[0].partition == started["output_partition"]
    assert parts.output.sent[0].headers["after"] == "41"


async def test_nothing_runs_before_the_log_has_accepted_the_claim(parts: FakeHost) -> None:
    async with attempting(parts) as (attempt, task):
        await until(lambda: parts.sandbox.prepared is not None)
        await asyncio.sleep(0.05)
        assert parts.sandbox.prepared is not None
        assert not parts.sandbox.prepared.went
        assert parts.events.kinds == ["claimed"]
        attempt.fence()
        await asyncio.wait({task}, timeout=2)
    assert parts.events.kinds == ["claimed"]


async def test_with_a_warm_sandbox_the_start_is_told_with_the_claim_and_made_after_it(
    parts: FakeHost,
) -> None:
    parts.sandbox.is_warm = True
    async with attempting(parts) as (attempt, _):
        await until(lambda: len(parts.events.sent) == 2)
        await asyncio.sleep(0.05)
        assert parts.sandbox.prepared is not None
        assert not parts.sandbox.prepared.went
        (await running(parts, attempt)).end()
    assert parts.events.kinds == ["claimed", "started", "finished"]


@pytest.mark.parametrize("halt", ["fence", "shut_down"])
async def test_a_start_told_with_a_claim_that_is_not_accepted_is_none(
    parts: FakeHost, halt: str
) -> None:
    parts.sandbox.is_warm = True
    async with attempting(parts) as (attempt, _):
        await until(lambda: len(parts.events.sent) == 2)
        getattr(attempt, halt)()
    assert parts.sandbox.prepared is not None
    assert not parts.sandbox.prepared.went
    handed_back = ["attempt_lost"] if halt == "shut_down" else []
    assert parts.events.kinds == ["claimed", "started", *handed_back]


async def test_a_start_that_was_told_may_still_be_cancelled(parts: FakeHost) -> None:
    parts.sandbox.is_warm = True
    async with attempting(parts) as (attempt, _):
        await until(lambda: len(parts.events.sent) == 2)
        attempt.cancel()
        attempt.claim_accepted()
    assert parts.sandbox.prepared is not None
    assert not parts.sandbox.prepared.went
    assert parts.events.kinds == ["claimed", "started", "finished"]
    assert parts.events.events[-1][1]["outcome"] == "cancelled"


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (an_exit(), "succeeded"),
        (an_exit(exit_code=1), "failed"),
        (an_exit(exit_code=None, signal=11), "failed"),
        (an_exit(exit_code=None, signal=9, killed="timed_out"), "timed_out"),
        (an_exit(exit_code=None, signal=9, oom=True), "out_of_memory"),
        (an_exit(exit_code=0, oom=True), "out_of_memory"),
    ],
)
async def test_how_it_ended_is_its_outcome(parts: FakeHost, ended: Any, outcome: str) -> None:
    async with attempting(parts) as (attempt, _):
        (await running(parts, attempt)).end(ended)
    kind, data = parts.events.events[-1]
    assert (kind, data["outcome"]) == ("finished", outcome)
    assert (data["exit_code"], data["signal"]) == (ended.exit_code, ended.signal)


async def test_a_cancelled_program_gets_one_sigterm_and_ends_cancelled(parts: FakeHost) -> None:
    async with attempting(parts) as (attempt, _):
        program = await running(parts, attempt)
        program.dies_when_killed = False
        for _ in range(5):  # the role says it again on every tick
            attempt.cancel()
            await asyncio.sleep(0.01)
        assert program.kills == [("cancelled", GRACE)]
        program.end(an_exit(exit_code=None, signal=15, killed="cancelled"))
    assert parts.events.events[-1][1]["outcome"] == "cancelled"


async def test_a_fence_ends_at_once_what_was_being_cancelled_and_says_nothing(
    parts: FakeHost,
) -> None:
    async with attempting(parts) as (attempt, _):
        program = await running(parts, attempt)
        program.dies_when_killed = False
        attempt.cancel()
        await asyncio.sleep(0)
        program.dies_when_killed = True
        attempt.fence()
        attempt.cancel()
    assert [grace for _, grace in program.kills] == [GRACE, 0.0]
    assert "finished" not in parts.events.kinds


async def test_a_cancellation_before_the_claim_ends_it_cancelled(parts: FakeHost) -> None:
    async with attempting(parts) as (attempt, _):
        attempt.cancel()
        await until(lambda: parts.events.kinds == ["claimed"])
        attempt.claim_accepted()
    assert parts.events.kinds == ["claimed", "finished"]
    data = parts.events.events[-1][1]
    assert (data["outcome"], data["last_seq"], data["usage"]) == ("cancelled", -1, None)
    assert parts.sandbox.prepared is None or not parts.sandbox.prepared.went


async def test_a_cancellation_while_started_is_on_its_way_does_not_start_the_program(
    parts: FakeHost,
) -> None:
    async with attempting(parts) as (attempt, _):
        parts.events.before = lambda kind: attempt.cancel() if "started" in kind else None
        attempt.claim_accepted()
    assert parts.events.kinds == ["claimed", "started", "finished"]
    assert parts.events.events[-1][1]["outcome"] == "cancelled"
    assert parts.sandbox.prepared is not None
    assert not parts.sandbox.prepared.went


@pytest.mark.parametrize("how", ["fence", "shut_down"])
async def test_an_end_while_started_is_on_its_way_does_not_start_the_program(
    parts: FakeHost, how: str
) -> None:
    async with attempting(parts) as (attempt, _):
        parts.events.before = lambda kind: getattr(attempt, how)() if "started" in kind else None
        attempt.claim_accepted()
    handed_back = ["attempt_lost"] if how == "shut_down" else []
    assert parts.events.kinds == ["claimed", "started", *handed_back]
    assert parts.sandbox.prepared is not None
    assert not parts.sandbox.prepared.went


async def test_an_agent_that_stops_hands_back_what_it_said_had_started_and_had_not(
    parts: FakeHost,
) -> None:
    parts.sandbox.is_warm = True
    async with attempting(parts) as (attempt, _):
        await until(lambda: len(parts.events.sent) == 2)
        attempt.shut_down()
    data = parts.events.events[-1][1]
    assert data["reason"] == "host_fault: the agent stopped before the program started"
    assert (data["agent"], data["incarnation"], data["attempt"]) == ("a1", "i1", 1)


async def test_an_agent_that_stops_leaves_what_runs_to_the_scheduler(parts: FakeHost) -> None:
    parts.sandbox.is_warm = True
    async with attempting(parts) as (attempt, _):
        await running(parts, attempt)
        attempt.shut_down()
    assert parts.events.kinds == ["claimed", "started"]


@pytest.mark.parametrize("how", ["fence", "shut_down"])
async def test_an_end_while_it_is_being_prepared_leaves_nothing(parts: FakeHost, how: str) -> None:
    parts.sandbox.may_prepare.clear()
    async with attempting(parts) as (attempt, _):
        attempt.claim_accepted()
        await asyncio.sleep(0.02)
        getattr(attempt, how)()
        parts.sandbox.may_prepare.set()
    assert parts.events.kinds == ["claimed"]


async def test_a_fence_does_not_wait_for_a_slow_preparation(parts: FakeHost) -> None:
    parts.sandbox.may_prepare.clear()
    async with attempting(parts) as (attempt, task):
        attempt.claim_accepted()
        await asyncio.sleep(0.02)
        attempt.fence()
        await asyncio.wait({task}, timeout=1)
        assert task.done()


async def test_output_beyond_the_limit_ends_the_program(parts: FakeHost) -> None:
    async with attempting(parts, limits=Limits(output=4)) as (attempt, _):
        program = await running(parts, attempt)
        os.write(program.out, b"12345")
        await until(lambda: program.kills)
    assert program.kills[0][0] == "output_limit"
    data = parts.events.events[-1][1]
    assert data["outcome"] == "output_limit"
    assert data["output"]["stdout"]["bytes"] == 4


async def test_finished_comes_after_all_output_is_acknowledged(parts: FakeHost) -> None:
    parts.output.holds = True
    async with attempting(parts) as (attempt, _):
        program = await running(parts, attempt)
        os.write(program.out, b"last words")
        await until(lambda: parts.output.sent)
        program.end()
        await asyncio.sleep(0.05)
        assert "finished" not in parts.events.kinds
        parts.output.release()
    assert parts.events.kinds[-1] == "finished"


async def test_a_program_whose_output_cannot_be_appended_is_ended_and_left_to_the_scheduler(
    parts: FakeHost,
) -> None:
    """It does not run on with nobody to read it until its time is over."""
    parts.output.failure = KafkaConnectionError("gone")
    async with attempting(parts) as (attempt, task):
        program = await running(parts, attempt)
        os.write(program.out, b"lost")
        await asyncio.wait({task}, timeout=2)
        assert task.done()
    assert "finished" not in parts.events.kinds


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotFound("no blob"), "build_missing"),
        (InvalidInput("not that SHA-256"), "failed"),
    ],
)
async def test_what_could_not_be_prepared_says_why(
    parts: FakeHost, error: Exception, outcome: str
) -> None:
    parts.sandbox.error = error
    async with attempting(parts) as (attempt, _):
        await asyncio.sleep(0.01)
        attempt.claim_accepted()
    kind, data = parts.events.events[-1]
    assert (kind, data["outcome"], data["reason"]) == ("finished", outcome, str(error))


@pytest.mark.parametrize("error", [SandboxError("no namespaces"), Unavailable("no store")])
async def test_a_fault_of_ours_before_the_start_is_no_verdict_and_hands_the_attempt_back(
    parts: FakeHost, error: HermesError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "LONGEST_PAUSE", 0.01)
    parts.sandbox.error = error
    async with attempting(parts) as (attempt, task):
        await asyncio.sleep(0.01)
        attempt.claim_accepted()
        await asyncio.wait({task}, timeout=2)
        assert task.exception() is error
    assert parts.events.kinds == ["claimed", "attempt_lost"]
    data = parts.events.events[-1][1]
    assert (data["agent"], data["incarnation"], data["attempt"]) == ("a1", "i1", 1)
    assert data["reason"] == f"host_fault: {error}"


async def test_a_fault_gets_the_time_to_pass_before_the_attempt_is_handed_back(
    parts: FakeHost,
) -> None:
    parts.sandbox.error = SandboxError("no namespaces")
    async with attempting(parts) as (attempt, task):
        attempt.claim_accepted()
        await asyncio.sleep(0.2)
        assert parts.events.kinds == ["claimed"]
        attempt.fence()
        await asyncio.wait({task}, timeout=0.5)
        assert task.done()
    assert parts.events.kinds == ["claimed"]


async def test_a_failed_preparation_says_nothing_when_the_claim_is_not_accepted(
    parts: FakeHost,
) -> None:
    parts.sandbox.error = SandboxError("no namespaces")
    async with attempting(parts) as (attempt, _):
        await asyncio.sleep(0.01)
        attempt.fence()
    assert parts.events.kinds == ["claimed"]


async def test_a_log_that_takes_nothing_is_waited_for(parts: FakeHost) -> None:
    parts.events.refusals = 1
    async with attempting(parts) as (attempt, _):
        attempt.claim_accepted()
        (await running(parts, attempt)).end()
    assert parts.events.kinds == ["claimed", "started", "finished"]


async def test_a_cancelled_task_leaves_nothing_open(parts: FakeHost) -> None:
    async with attempting(parts) as (attempt, task):
        await running(parts, attempt)
        task.cancel()
        await asyncio.wait({task}, timeout=2)
    assert "finished" not in parts.events.kinds


async def test_the_sandbox_carries_execution_and_attempt_as_its_name(parts: FakeHost) -> None:
    async with attempting(parts) as (attempt, _):
        (await running(parts, attempt)).end()
    assert parts.sandbox.spec is not None
    assert parts.sandbox.spec.name.endswith("-1")
    assert parts.sandbox.spec.argv == ("/fn/primes",)
    assert parts.sandbox.spec.limits.time == 600.0
