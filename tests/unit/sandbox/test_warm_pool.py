"""What the warm sandboxes do, step by step, over a sandbox that is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from hermes.errors import NotFound
from infra.sandbox import warm
from infra.sandbox.port import LATER, SandboxError
from infra.sandbox.warm import WarmSandboxes
from infra.sandbox.warm_demand import IDLE
from tests.unit.sandbox.fake_sandbox import FakePrepared, FakeSandbox
from tests.unit.sandbox.test_warm_demand import changed

BUDGET = 3


class Pool:
    """The warm sandboxes, with the clock and the folders in the test's hands."""

    def __init__(self) -> None:
        self.inner = FakeSandbox()
        self.now = 1000.0
        self.kept: list[str] = []
        self.evicted = False
        self.warm = WarmSandboxes(self.inner, BUDGET, self.keep, lambda: self.now)
        self._count = 0

    def keep(self, artifact: str) -> Callable[[], None]:
        if self.evicted:
            raise NotFound("it is not here")
        self.kept.append(artifact)
        return lambda: self.kept.remove(artifact)

    async def run(self, name: str = "hello", **fields: Any) -> FakePrepared:
        """Ask for one, let it go, close it."""
        self._count += 1
        spec = changed(
            name=f"{name}-{self._count}", artifact=name, function=f"ana/{name}:1", **fields
        )
        prepared: Any = await self.warm.prepare(spec)
        assert prepared.serves == spec
        prepared.go()
        await prepared.close()
        return prepared  # type: ignore[no-any-return]

    async def settle(self) -> None:
        """Upkeep until there is nothing left to do."""
        for _ in range(50):
            if not await self.warm.tend():
                return
        raise AssertionError("the upkeep never ends")

    @property
    def waiting(self) -> list[str | None]:
        """For which functions sandboxes wait."""
        return sorted(str(each.prepared_for.artifact) for each in self.inner.waiting)


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.warm.close()
    assert pool.inner.living == []
    assert pool.kept == []


def is_warm(prepared: FakePrepared) -> bool:
    return prepared.prepared_for.stdin == LATER


async def test_the_first_run_is_cold_and_the_next_one_warm(pool: Pool) -> None:
    assert not is_warm(await pool.run())
    await pool.settle()
    assert pool.waiting == ["hello"]
    assert is_warm(await pool.run())


async def test_no_sandbox_serves_twice(pool: Pool) -> None:
    served = []
    for _ in range(5):
        served.append(await pool.run())
        await pool.settle()
    assert len({id(each) for each in served}) == 5


async def test_a_burst_gets_as_many_and_the_rest_is_cold(pool: Pool) -> None:
    await asyncio.gather(pool.run(), pool.run())
    await pool.settle()
    assert pool.waiting == ["hello"] * 2
    served = await asyncio.gather(*(pool.run() for _ in range(5)))
    assert [is_warm(each) for each in served] == [True, True, False, False, False]
    await pool.settle()
    assert pool.waiting == ["hello"] * BUDGET


async def test_what_is_not_needed_any_more_ends(pool: Pool) -> None:
    await asyncio.gather(pool.run(), pool.run())
    await pool.settle()
    pool.now += 120
    await pool.settle()
    assert pool.waiting == ["hello"]
    pool.now += IDLE
    await pool.settle()
    assert pool.waiting == []
    assert pool.inner.living == []


async def test_the_functions_used_last_have_the_budget(pool: Pool) -> None:
    for name in ("a", "b", "c", "d"):
        await pool.run(name)
        await pool.settle()
    assert pool.waiting == ["b", "c", "d"]
    assert is_warm(await pool.run("b"))
    await pool.run("e")
    await pool.settle()
    assert pool.waiting == ["b", "d", "e"]


async def test_nobody_gets_what_waits_for_another(pool: Pool) -> None:
    await pool.run("hello")
    await pool.settle()
    assert not is_warm(await pool.run("hello", argv=("/fn/other",)))
    assert not is_warm(await pool.run("bye"))


async def test_builds_gpus_and_large_inputs_are_cold_and_leave_nothing(pool: Pool) -> None:
    await pool.run(kind="build")
    await pool.run(gpus=("GPU-1",))
    await pool.run(may_be_warm=False)
    await pool.settle()
    assert pool.waiting == []


async def test_without_a_budget_nothing_waits() -> None:
    pool = Pool()
    pool.warm = WarmSandboxes(pool.inner, 0, pool.keep, lambda: pool.now)
    await pool.run()
    await pool.settle()
    assert pool.waiting == []


async def test_one_that_died_is_never_handed_out_and_is_replaced(pool: Pool) -> None:
    await pool.run()
    await pool.settle()
    (waiting,) = pool.inner.waiting
    waiting.dies()
    pool.now += 10
    assert not is_warm(await pool.run())
    pool.now += warm.FIRST_PAUSE
    await pool.settle()
    assert waiting.closed
    assert pool.waiting == ["hello"]


@pytest.mark.parametrize("reason", [OSError("too many open files"), ValueError("whatever")])
async def test_one_that_cannot_be_assigned_is_closed_whatever_the_reason(
    pool: Pool, reason: Exception
) -> None:
    await pool.run()
    await pool.settle()
    (waiting,) = pool.inner.waiting
    waiting.refuses = reason
    assert not is_warm(await pool.run())
    await pool.settle()
    assert waiting.closed
    assert pool.kept == []


async def test_one_that_died_unasked_is_noticed(pool: Pool) -> None:
    await pool.run()
    await pool.settle()
    (waiting,) = pool.inner.waiting
    waiting.dies()
    await pool.settle()
    assert waiting.closed
    assert pool.waiting == [], "not at once: whatever ended it may end the next"
    pool.now += warm.FIRST_PAUSE
    await pool.settle()
    assert pool.waiting == ["hello"]


async def test_a_failing_start_is_tried_again_later_and_harms_no_run(pool: Pool) -> None:
    await pool.run()
    pool.inner.fails = True
    tries = []
    for _ in range(600):
        tries.append(await pool.warm.tend())
        pool.now += 0.5
    assert 5 <= sum(tries) <= 12
    with pytest.raises(SandboxError):
        await pool.run()
    pool.inner.fails = False
    assert not is_warm(await pool.run())
    pool.now += warm.LONGEST_PAUSE
    await pool.settle()
    assert is_warm(await pool.run())


async def test_the_folder_is_kept_while_one_waits(pool: Pool) -> None:
    await pool.run()
    assert pool.kept == []
    await pool.settle()
    assert pool.kept == ["hello"]
    prepared: Any = await pool.warm.prepare(changed(artifact="hello", function="ana/hello:1"))
    assert is_warm(prepared)
    assert pool.kept == [], "from here on the run keeps it"
    await prepared.close()


async def test_nothing_waits_for_a_folder_that_is_gone(pool: Pool) -> None:
    await pool.run()
    pool.evicted = True
    await pool.settle()
    assert pool.waiting == []
    pool.evicted = False
    await pool.settle()
    assert pool.waiting == []
    await pool.run()
    await pool.settle()
    assert pool.waiting == ["hello"]


async def test_what_waits_already_ends_when_the_folder_is_gone_for_the_next(pool: Pool) -> None:
    await asyncio.gather(pool.run(), pool.run())
    await pool.warm.tend()
    assert pool.waiting == ["hello"]
    pool.evicted = True
    await pool.settle()
    assert pool.waiting == []
    assert pool.inner.living == []


async def test_what_waits_for_a_deleted_function_ends(pool: Pool) -> None:
    await pool.run("hello")
    await pool.run("bye")
    await pool.settle()
    await pool.warm.forget("ana/hello:1")
    assert pool.waiting == ["bye"]
    assert pool.inner.forgotten == ["ana/hello:1"]
    await pool.settle()
    assert pool.waiting == ["bye"]


async def test_a_function_is_forgotten_when_what_was_just_started_has_ended(pool: Pool) -> None:
    await pool.run()
    pool.inner.may_start.clear()
    starting = asyncio.create_task(pool.warm.tend())
    await asyncio.sleep(0)
    forgetting = asyncio.create_task(pool.warm.forget("ana/hello:1"))
    await asyncio.sleep(0.01)
    assert pool.inner.forgotten == []
    pool.inner.may_start.set()
    await forgetting
    assert pool.inner.living == []
    assert pool.inner.forgotten == ["ana/hello:1"]
    await starting


async def test_who_asks_while_one_starts_gets_it_and_the_second_does_not_wait(pool: Pool) -> None:
    await pool.run()
    pool.inner.may_start.clear()
    starting = asyncio.create_task(pool.warm.tend())
    await asyncio.sleep(0)
    runs = [asyncio.create_task(pool.run()) for _ in range(2)]
    await asyncio.sleep(0)
    pool.inner.may_start.set()
    served = await asyncio.gather(*runs)
    await starting
    assert [is_warm(each) for each in served] == [True, False]
    assert len(pool.inner.made) == 3


async def test_who_asks_while_one_fails_to_start_is_served_cold(pool: Pool) -> None:
    await pool.run()
    pool.inner.may_start.clear()
    pool.inner.fails = True
    starting = asyncio.create_task(pool.warm.tend())
    await asyncio.sleep(0)
    run = asyncio.create_task(pool.run())
    await asyncio.sleep(0)
    pool.inner.may_start.set()
    await starting
    pool.inner.fails = False
    assert not is_warm(await run)


async def test_reap_spares_what_waits(pool: Pool) -> None:
    await pool.run()
    await pool.settle()
    assert await pool.warm.reap(()) == []


async def test_closing_ends_what_waits_and_what_is_being_started() -> None:
    pool = Pool()
    await pool.warm.open()
    await pool.run("hello")
    await pool.settle()
    await pool.run("bye")
    pool.inner.may_start.clear()
    pool.now += 10  # quiet
    async with asyncio.timeout(5):
        while pool.kept != ["hello", "bye"]:
            await asyncio.sleep(0.01)
        await pool.warm.close()
    assert (pool.inner.living, pool.kept, pool.inner.is_open) == ([], [], False)


async def test_none_is_started_while_runs_start_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warm, "QUIET", 0.1)
    monkeypatch.setattr(warm, "IMPATIENCE", 0.5)
    inner = FakeSandbox()
    sandbox = WarmSandboxes(inner, BUDGET, lambda _: lambda: None)
    await sandbox.open()
    begun = asyncio.get_running_loop().time()
    while not any(is_warm(each) for each in inner.made):
        prepared: Any = await sandbox.prepare(changed(argv=(f"/fn/{len(inner.made)}",)))
        await prepared.close()
        await asyncio.sleep(0.02)
        assert asyncio.get_running_loop().time() < begun + 5
    assert 0.4 < asyncio.get_running_loop().time() - begun < 2.0
    await sandbox.close()
