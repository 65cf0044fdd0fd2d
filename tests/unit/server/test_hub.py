"""The live reader of output goes on after what passes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from hermes.errors import LogUnavailable
from hermes.server.tails import hub as hub_module
from hermes.server.tails.hub import OutputHub
from streams.output import headers
from tests.unit.domain.making import id_at

X = id_at(1)


class FakeReader:
    """Fails once, then has one record, then nothing."""

    def __init__(self) -> None:
        self.answers: list[Any] = [LogUnavailable("away"), [_record()]]

    async def batch(self, wait: float = 0.2, most: int = 5000) -> list[ConsumerRecord]:
        await asyncio.sleep(0.001)
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


def _record() -> ConsumerRecord:
    time = "2026-01-01T00:00:00.000000Z"
    return ConsumerRecord(
        topic="out",
        partition=0,
        offset=7,
        timestamp=0,
        timestamp_type=1,
        key=X.encode(),
        value=b"data",
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=headers(attempt=1, seq=0, stream="stdout", offset=0, time=time, after=0),
    )


async def test_an_outage_does_not_end_the_live_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PAUSE", 0.01)
    monkeypatch.setattr(hub_module, "PartitionReader", lambda *_, **__: FakeReader())
    hub = OutputHub("localhost:1", "out", [0])
    woken = asyncio.Event()
    with hub.listening(X, woken.set) as queue:
        following = asyncio.create_task(hub.follow(0))
        assert await hub.reached(0, 8, timeout=2.0)
        assert [item.data for _, item in queue.take(0, 1)] == [b"data"]
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
