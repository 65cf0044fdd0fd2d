"""`Hermes-After` waits for whatever the route answers from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from hermes.domain.resources import Position
from hermes.errors import PositionNotReached
from hermes.server import call
from hermes.server.call import Call

POOL, REGISTRY, OUTPUT = "hermes.executions.default", "hermes.registry", "hermes.output.default"


class FakeFold:
    """Has folded `end` records."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.end = 0
        self.more = asyncio.Event()

    def folds(self, end: int) -> None:
        self.end = end
        self.more.set()

    async def reached(self, offset: int, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while self.end <= offset:
                    await self.more.wait()
                    self.more.clear()
        except TimeoutError:
            return False
        return True


class FakeViews:
    """Have passed everything; tell what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[Position] = []

    async def wait_for(self, positions: Sequence[Position], timeout: float) -> None:
        self.asked += positions


class Server:
    """An API's folds and views, and a request with a header."""

    def __init__(self, after: str) -> None:
        self.pool, self.registry, self.views = FakeFold(POOL), FakeFold(REGISTRY), FakeViews()
        request: Any = SimpleNamespace(headers={"Hermes-After": after})
        folds = {fold.topic: fold for fold in (self.pool, self.registry)}
        services: Any = SimpleNamespace(folds=folds, views=self.views)
        self.call = Call(request, services)


@pytest.mark.parametrize("views", [True, False])
async def test_an_answer_waits_for_the_fold_also_where_the_views_are_ahead(views: bool) -> None:
    server = Server(f"{POOL}/0/7")
    waiting = asyncio.create_task(server.call.wait_as_asked(views=views))
    await asyncio.sleep(0.01)
    server.pool.folds(7)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    server.pool.folds(8)
    await asyncio.wait_for(waiting, 5)
    assert server.views.asked == ([Position(POOL, 0, 7)] if views else [])


async def test_what_is_in_no_fold_is_asked_of_the_views() -> None:
    server = Server(f"{POOL}/0/7, {POOL}/1/3, {OUTPUT}/0/5, {REGISTRY}/0/0")
    server.pool.folds(8)
    server.registry.folds(1)
    await server.call.wait_as_asked(views=False)
    assert server.views.asked == [Position(POOL, 1, 3), Position(OUTPUT, 0, 5)]


async def test_a_fold_that_does_not_get_there_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "REQUESTED_WAIT", 0.05)
    server = Server(f"{REGISTRY}/0/0,{POOL}/0/7")
    with pytest.raises(PositionNotReached, match=f"{REGISTRY}/0/0 was not reached"):
        await asyncio.wait_for(server.call.wait_as_asked(views=True), 5)
