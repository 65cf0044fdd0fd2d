"""The queries: pages, prefixes, filters, and who may see what."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from hermes.domain import codec
from hermes.domain.events import FunctionDeleted
from hermes.domain.ids import derived_id, new_id
from hermes.domain.registry import build_id_of
from hermes.domain.resources import Position
from hermes.errors import AmbiguousId, InvalidCursor, NotFound, PositionNotReached
from streams.log import new_event
from tests.support import log_samples as sample


async def _all_pages(ask) -> list[dict]:
    found, cursor, pages = [], None, 0
    while True:
        page = await ask(cursor)
        found += [json.loads(bytes(item)) for item in page.items]
        cursor, pages = page.next_cursor, pages + 1
        assert pages < 50
        if cursor is None:
            return found


async def _register(stage, owner: str, name: str, version: str, build: bool = True, **config):
    event = new_event(sample.registered(owner, name, version, **config), owner)
    key = f"{owner}/{name}"
    position = await stage.append_raw(stage.topics.registry, [(key, codec.encode(event))])
    if build:
        fact = sample.built(version, build_id_of(event.id))
        position = await stage.append(stage.topics.registry, [(key, fact)])
    return position


async def test_pages_of_executions_have_each_once_and_newest_first(stage):
    await stage.start_projector()
    ids = [new_id() for _ in range(23)]
    await stage.run_executions(*[sample.requested(i) for i in ids])
    await stage.run_executions(sample.requested(owner="bob"), sample.requested(kind="build"))
    # Among those that were requested in one and the same microsecond, too.
    twins = [new_id() for _ in range(5)]
    moment = datetime.now(UTC)
    events = [new_event(sample.requested(i), "test") for i in twins]
    records = [
        (i, codec.encode(msgspec.structs.replace(event, occurred_at=moment)))
        for i, event in zip(twins, events, strict=True)
    ]
    await stage.views.wait_for([await stage.append_raw(stage.executions, records)])

    found = await _all_pages(
        lambda cursor: stage.views.list_executions("id-of-ann", limit=4, cursor=cursor)
    )
    assert [f["id"] for f in found] == [*sorted(twins, reverse=True), *reversed(ids)]
    page = await stage.views.list_executions("id-of-ann", limit=28)
    assert (len(page.items), page.next_cursor) == (28, None)
    assert (await stage.views.list_executions("nobody")).items == []
    builds = await stage.views.list_executions("id-of-ann", kind="build")
    assert len(builds.items) == 1


async def test_executions_are_filtered(stage):
    await stage.start_projector()
    ids = [new_id() for _ in range(4)]
    await stage.run_executions(
        sample.joined(),
        sample.requested(ids[0]),
        *sample.whole_life(ids[0], outcome="failed"),
        sample.requested(ids[1]),
        *sample.whole_life(ids[1]),
        sample.requested(ids[2], function="bob/sum"),
    )
    position = await stage.run_executions(sample.requested(ids[3]))
    await stage.views.wait_for([position])

    async def ask(**filters) -> list[int]:
        page = await stage.views.list_executions("id-of-ann", **filters)
        return [ids.index(json.loads(bytes(item))["id"]) for item in page.items]

    assert await ask(statuses=["failed"]) == [0]
    assert await ask(statuses=["failed", "requested"]) == [3, 2, 0]
    assert await ask(statuses=["finished"]) == [1, 0]
    assert await ask(function="bob/sum") == [2]
    assert await ask(function="bob/sum:1.0.0") == [2]
    assert await ask(function="bob/sum:2.0.0") == []
    assert await ask(function="bo") == []
    third = json.loads(await stage.views.get_execution("id-of-ann", ids[2]))
    moment = datetime.fromisoformat(third["created_at"])
    assert await ask(since=moment) == [3, 2]
    assert await ask(until=moment) == [1, 0]
    assert await ask(since=moment, until=moment + timedelta(microseconds=1)) == [2]
    page = await stage.views.list_executions("id-of-ann", limit=1)
    with pytest.raises(InvalidCursor):
        await stage.views.list_executions("id-of-bob", limit=1, cursor=page.next_cursor)
    with pytest.raises(InvalidCursor):
        await stage.views.list_executions("id-of-ann", cursor="\0garbage")


async def test_a_prefix_is_unique_among_the_owners_executions_only(stage):
    await stage.start_projector()
    mine = new_id()
    # The same moment, so the same start, but another's.
    others = derived_id(mine, "other")
    common = mine[:13]
    position = await stage.run_executions(
        sample.requested(mine), sample.requested(others, owner="bob")
    )
    await stage.views.wait_for([position])
    assert json.loads(await stage.views.get_execution("id-of-ann", common))["id"] == mine
    assert json.loads(await stage.views.get_execution("id-of-bob", common.upper()))["id"] == others
    position = await stage.run_executions(sample.requested(derived_id(mine, "third")))
    await stage.views.wait_for([position])
    with pytest.raises(AmbiguousId):
        await stage.views.get_execution("id-of-ann", common)
    assert json.loads(await stage.views.get_execution("id-of-ann", mine))["id"] == mine
    for text in ("", "%", "_", "\0", "x" * 1000, "'", mine + "0", mine[:-1] + "\n"):
        with pytest.raises(NotFound):
            await stage.views.get_execution("id-of-ann", text)


async def test_events_of_an_execution_come_oldest_first(stage):
    await stage.start_projector()
    execution_id = new_id()
    await stage.run_executions(sample.joined(), sample.requested(execution_id))
    await stage.run_executions(sample.requested())
    life = sample.whole_life(execution_id)
    position = await stage.run_executions(*life, sample.finished(execution_id))
    await stage.views.wait_for([position])
    events = await _all_pages(
        lambda cursor: stage.views.list_events(
            "id-of-ann", execution_id[:30], limit=2, cursor=cursor
        )
    )
    assert [event["kind"].partition(".")[2] for event in events] == [
        "requested",
        "scheduled",
        "claimed",
        "started",
        "finished",
        "finished",
    ]
    assert [event["superseded"] for event in events] == [False] * 5 + [True]
    assert events[-1]["position"] == {
        "topic": position.topic,
        "partition": 0,
        "offset": position.offset,
    }
    with pytest.raises(NotFound):
        await stage.views.list_events("id-of-bob", execution_id)


async def test_private_functions_exist_for_their_owner_only(stage):
    await stage.start_projector()
    await _register(stage, "ann", "secret", "1.0.0", scope="private")
    position = await _register(stage, "ann", "open", "1.0.0")
    await stage.views.wait_for([position])
    assert len((await stage.views.list_functions("id-of-ann")).items) == 2
    assert len((await stage.views.list_functions("id-of-bob")).items) == 1
    assert len((await stage.views.list_functions("id-of-bob", owner="ann")).items) == 1
    await stage.views.get_function("id-of-ann", "ann", "secret")
    for version in (None, "1.0.0"):
        with pytest.raises(NotFound):
            await stage.views.get_function("id-of-bob", "ann", "secret", version)


async def test_without_a_version_the_highest_built_one_is_meant(stage):
    await stage.start_projector()
    await _register(stage, "ann", "pi", "1.9.0")
    await _register(stage, "ann", "pi", "1.10.0")
    position = await _register(stage, "ann", "pi", "2.0.0", build=False)
    await stage.views.wait_for([position])

    async def version(wanted=None) -> str:
        return json.loads(await stage.views.get_function("x", "ann", "pi", wanted))["version"]

    assert await version() == "1.10.0"
    assert await version("2.0.0") == "2.0.0"
    position = await stage.append(
        stage.topics.registry, [("ann/pi", FunctionDeleted(version="1.10.0"))]
    )
    await stage.views.wait_for([position])
    assert await version() == "1.9.0"
    with pytest.raises(NotFound):
        await version("1.10.0")
    deleted = await stage.views.list_functions("x", status="deleted")
    assert json.loads(bytes(deleted.items[0]))["status"] == "deleted"
    found = await _all_pages(
        lambda cursor: stage.views.list_functions("x", name="pi", limit=1, cursor=cursor)
    )
    assert [f["version"] for f in found] == ["2.0.0", "1.9.0"]


async def test_a_position_that_is_not_reached_is_an_error_in_time(stage):
    with pytest.raises(PositionNotReached):
        await stage.views.wait_for([Position(stage.executions, 0, 0)], timeout=0.2)
