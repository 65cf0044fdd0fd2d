"""Containers that have ended leave when nothing starts, or when it is too much or too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from infra.sandbox.docker import departures
from infra.sandbox.docker.departures import Departures
from infra.sandbox.port import Undying

#: How it is ended, and what is given back then.
Ways = tuple[Callable[[], Awaitable[None]], Callable[[], None]]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "QUIET", 0.05)
    monkeypatch.setattr(departures, "LONGEST", 1.5)
    monkeypatch.setattr(departures, "MOST", 3)
    monkeypatch.setattr(departures, "TURN", 0.05)
    monkeypatch.setattr(departures, "FIRST_PAUSE", 0.05)


class Ended:
    """Some that have ended, and who of them has left when."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}
        self.given_back: list[str] = []

    def one(self, name: str) -> Ways:
        async def end() -> None:
            self.left[name] = time.monotonic()

        return end, lambda: self.given_back.append(name)


async def until_left(ended: Ended, *names: str) -> None:
    async with asyncio.timeout(5):
        while not ended.left.keys() >= set(names):
            await asyncio.sleep(0.005)


async def test_when_nothing_starts_they_leave_one_after_the_other() -> None:
    ended, leaving = Ended(), Departures()
    leaving.starts.note()
    leaving.add(*ended.one("a"))
    leaving.add(*ended.one("b"))
    await asyncio.sleep(0)
    assert not ended.left
    await until_left(ended, "a", "b")
    assert ended.left["b"] - ended.left["a"] >= 0.05


async def test_while_one_starts_they_stay_but_not_for_ever() -> None:
    ended, leaving = Ended(), Departures()
    with leaving.starts.one():
        begun = time.monotonic()
        leaving.add(*ended.one("a"))
        await asyncio.sleep(0.2)
        assert not ended.left
        await until_left(ended, "a")
    assert ended.left["a"] - begun >= 1.5


async def test_too_many_do_not_stay() -> None:
    ended, leaving = Ended(), Departures()
    with leaving.starts.one():
        for name in "abcde":
            leaving.add(*ended.one(name))
        await until_left(ended, "a", "b")
        assert list(ended.left) == ["a", "b"], "the oldest leave"
        await leaving.flush(5.0)
    assert list(ended.left) == ["a", "b", "c", "d", "e"]


async def test_what_does_not_die_is_asked_again_and_keeps_what_it_holds_till_then() -> None:
    ended, leaving = Ended(), Departures()
    asked = 0

    async def dies_when_asked_thrice() -> None:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Undying("it does not die")

    leaving.add(dies_when_asked_thrice, lambda: ended.given_back.append("stuck"))
    await leaving.flush(0.01)
    assert ended.given_back == []
    async with asyncio.timeout(5):
        while not ended.given_back:
            await asyncio.sleep(0.005)
    assert (asked, ended.given_back) == (3, ["stuck"])


async def test_one_that_takes_long_to_die_holds_up_the_others_for_a_moment_only() -> None:
    ended, leaving = Ended(), Departures()

    async def does_not_die() -> None:
        await asyncio.sleep(60)

    leaving.add(does_not_die, lambda: ended.given_back.append("stuck"))
    for name in "abc":
        leaving.add(*ended.one(name))
    await until_left(ended, "a", "b", "c")
    begun = time.monotonic()
    leaving.add(*ended.one("d"))
    await leaving.close(0.2)
    assert time.monotonic() - begun < 5.0
    assert ended.given_back == ["a", "b", "c", "d"]
