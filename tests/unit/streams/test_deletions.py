"""An agent hears of deleted functions, whatever else the registry holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from hermes.domain import events as ev
from hermes.domain.codec import encode
from hermes.errors import LogError, LogUnavailable
from streams.agent import deletions
from streams.agent.deletions import Deletions
from streams.log import new_event


def record(value: bytes, key: str = "ana/hello") -> ConsumerRecord:
    return ConsumerRecord(
        "hermes.registry", 0, 7, 1_700_000_000_000, 1, key.encode(), value, None, 0, len(value), ()
    )


def event(data: ev.EventData) -> ConsumerRecord:
    return record(encode(new_event(data, "user:ana")))


class FakeReader:
    """Gives what the test has prepared, an exception for an outage."""

    def __init__(self, *batches: Any) -> None:
        self.batches = list(batches)
        self.at = 0

    async def start(self) -> None:
        pass

    async def end_offset(self) -> int:
        return 42

    def seek(self, offset: int) -> None:
        self.at = offset

    async def batch(self, wait: float) -> Any:
        if not self.batches:
            await asyncio.sleep(60)
        found = self.batches.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


async def test_what_is_deleted_is_drained_whatever_comes_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deletions, "PAUSE", 0.01)
    reader: Any = FakeReader(
        [
            event(ev.PoolCreated(pool="default")),
            record(b"no event"),
            record(b'{"kind": "function.deleted/99", "id": "x"}'),
            event(ev.FunctionDeleted(version="1.0.0")),
        ],
        LogUnavailable("the broker is away"),
        LogError("there is no such offset"),
        [event(ev.FunctionDeleted(version="1.0.1"))],
    )
    forgotten: list[str] = []

    async def forget(function: str) -> None:
        forgotten.append(function)

    hearing = Deletions(reader, forget)
    task = asyncio.create_task(hearing.follow())
    async with asyncio.timeout(5):
        while len(forgotten) < 2:
            await asyncio.sleep(0.01)
    task.cancel()
    assert reader.at == 42, "what was deleted before is of no interest"
    assert forgotten == ["ana/hello:1.0.0", "ana/hello:1.0.1"]
