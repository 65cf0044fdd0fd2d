"""Containers that have ended leave when nothing starts, or when it is too much or too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from infra.sandbox.docker import departures
from infra.sandbox.docker.departures import Departures
from infra.sandbox.port import Undying

Leave = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "QUIET", 0.05)
    monkeypatch.setattr(departures, "LONGEST", 0.5)
    monkeypatch.setattr(departures, "MOST", 3)


class Ended:
    """Some that have ended, and who of them has left when."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}

    def one(self, name: str) -> Leave:
        async def leave() -> None:
            self.left[name] = time.monotonic()

        return leave


async def until_left(ended: Ended, *names: str) -> None:
    async with asyncio.timeout(5):
        while not ended.left.keys() >= set(names):
            await asyncio.sleep(0.005)


async def test_when_nothing_starts_they_leave_one_after_the_other() -> None:
    ended, leaving = Ended(), Departures()
    leaving.started()
    leaving.add(ended.one("a"))
    leaving.add(ended.one("b"))
    await asyncio.sleep(0)
    assert not ended.left
    await until_left(ended, "a", "b")
    assert ended.left["b"] - ended.left["a"] >= 0.05


async def test_while_one_starts_they_stay_but_not_for_ever() -> None:
    ended, leaving = Ended(), Departures()
    with leaving.start():
        begun = time.monotonic()
        leaving.add(ended.one("a"))
        await asyncio.sleep(0.2)
        assert not ended.left
        await until_left(ended, "a")
    assert ended.left["a"] - begun >= 0.5


async def test_too_many_do_not_stay() -> None:
    ended, leaving = Ended(), Departures()
    with leaving.start():
        for name in "abcde":
            leaving.add(ended.one(name))
        await asyncio.sleep(0.02)
        assert list(ended.left) == ["a", "b"], "the oldest leave"
        await leaving.flush()
    assert list(ended.left) == ["a", "b", "c", "d", "e"]


async def test_what_does_not_die_is_asked_again_and_holds_up_nobody_else() -> None:
    ended, leaving = Ended(), Departures()
    asked = 0

    async def dies_when_asked_thrice() -> None:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Undying("it does not die")

    leaving.add(dies_when_asked_thrice)
    leaving.add(ended.one("a"))
    await until_left(ended, "a")
    async with asyncio.timeout(5):
        while asked < 3:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)
    assert asked == 3


async def test_one_that_fails_holds_up_nobody_else() -> None:
    ended, leaving = Ended(), Departures()

    async def stuck() -> None:
        raise OSError("stuck")

    leaving.add(stuck)
    leaving.add(ended.one("a"))
    await leaving.flush()
    assert list(ended.left) == ["a"]
    leaving.add(stuck)
    leaving.add(ended.one("b"))
    await until_left(ended, "b")
