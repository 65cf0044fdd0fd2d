"""Records that nobody should write: they are kept as superseded, or stop one projection loudly."""

from __future__ import annotations

import json

from hermes.domain import codec
from hermes.domain.ids import new_id
from streams.log import new_event
from streams.output import headers
from tests.support import log_samples as sample


async def test_malformed_and_unknown_records_are_kept_as_superseded(stage):
    await stage.start_projector()
    execution_id = new_id()
    nested = b'{"a":' * 900 + b"1" + b"}" * 900
    hostile = [
        b"",
        b"no json",
        b"\x00\xff" * 10,
        b'{"id":"x","kind":"execution.flew/1","occurred_at":"2026-01-01T00:00:00Z","data":{}}',
        b'{"id":"x","kind":"execution.queued/1","occurred_at":"2026-01-01T00:00:00Z","data":'
        b'{"execution_id":"%s","reason":"\\u0000"}}' % execution_id.encode(),
        b'{"id":"x","kind":"execution.queued/1","occurred_at":"0001-01-01T00:00:00+14:00","data":'
        b'{"execution_id":"%s","reason":"x"}}' % execution_id.encode(),
        b'{"id":"x","kind":"execution.queued/1","occurred_at":"2026-01-01T00:00:00Z","data":'
        + nested
        + b"}",
    ]
    await stage.run_executions(sample.requested(execution_id))
    await stage.append_raw(stage.executions, [(execution_id, value) for value in hostile])
    # A key that no text column can hold, and a fact about somebody else's execution.
    other = sample.requested(owner="bob")
    await stage.append_raw(
        stage.executions, [("\0\0", b"x"), (execution_id, codec.encode(new_event(other, "bob")))]
    )
    position = await stage.run_executions(sample.requested(execution_id))
    await stage.views.wait_for([position])

    page = await stage.views.list_events("id-of-ann", execution_id, limit=200)
    events = [json.loads(bytes(item)) for item in page.items]
    assert len(events) == 1 + len(hostile) + 2
    assert [event["superseded"] for event in events] == [False] + [True] * (len(events) - 1)
    assert {event["kind"] for event in events[1 : 1 + len(hostile)]} == {"malformed"}
    rows = await stage.database.fetchval("SELECT count(*) FROM hermes.events")
    assert rows == position.offset + 1
    assert (await stage.status("executions")).status == "running"


async def test_values_that_no_column_can_hold_are_kept_in_the_body(stage):
    await stage.start_projector()
    execution_id = new_id()
    long_name = "x" * 5000
    value = codec.encode(
        new_event(sample.requested(execution_id, function=f"ann/{long_name}"), "ann" * 2000)
    )
    life = [
        (execution_id, codec.encode(new_event(fact, "agent")))
        for fact in sample.whole_life(execution_id)
    ]
    await stage.run_executions(sample.joined())
    position = await stage.append_raw(stage.executions, [(execution_id, value), *life])
    await stage.views.wait_for([position])
    shape = json.loads(await stage.views.get_execution("id-of-ann", execution_id))
    assert shape["function"] == f"ann/{long_name}:1.0.0"
    page = await stage.views.list_executions("id-of-ann", function=f"ann/{long_name}:1.0.0")
    assert len(page.items) == 1


async def test_a_newer_version_stops_the_pool_loudly_and_nothing_else(stage):
    projector = await stage.start_projector()
    execution_id = new_id()
    before = await stage.run_executions(sample.requested(execution_id))
    newer = b'{"id":"x","kind":"execution.queued/2","occurred_at":"2026-01-01T00:00:00Z","data":{}}'
    refused = await stage.append_raw(stage.executions, [(execution_id, newer)])
    await stage.run_executions(sample.requested())
    status = await stage.status_becomes("executions", lambda s: s.status == "stopped")

    assert "execution.queued/2" in status.error
    assert str(refused) in status.error
    assert status.lag == 2
    await stage.views.wait_for([before])
    assert (await stage.status("output")).status == "running"
    position = await stage.append(
        stage.topics.registry, [("ann/pi", sample.registered("ann", "pi"))]
    )
    await stage.views.wait_for([position])
    assert (await stage.status("functions")).status == "running"
    assert projector.returncode is None


async def test_a_row_that_cannot_be_written_stops_its_projection_at_that_event(stage):
    await stage.start_projector()
    await stage.views.wait_for([await stage.run_executions(sample.joined())])
    # Somebody has put a row where the third record's belongs.
    await stage.database.execute(
        "INSERT INTO executions_g1.events SELECT topic, partition, 3, execution_id, event_id, kind,"
        " version, occurred_at, log_time, actor, superseded, misfit, body"
        " FROM executions_g1.events LIMIT 1"
    )
    await stage.run_executions(*[sample.requested() for _ in range(5)], sample.joined("host-2"))
    status = await stage.status_becomes("executions", lambda s: s.status == "stopped")
    assert f"{stage.executions}/0/3" in status.error
    await stage.status_becomes("agents", lambda s: s.lag == 0)
    assert len(await stage.views.list_agents()) == 2
    assert await stage.database.fetchval("SELECT count(*) FROM hermes.executions") == 2

    # A rebuild mends it, and the projector goes on by itself.
    assert (await stage.rebuild("executions")).comparison.differences == 1
    await stage.status_becomes("executions", lambda s: s.lag == 0 and s.status == "running")
    assert await stage.differences() == []


async def test_output_records_are_indexed_and_foreign_ones_refused(stage):
    await stage.start_projector()
    execution_id = new_id()
    topic = stage.topics.output("default")

    def stdout(attempt: int = 1, time: str = "2026-01-01T00:00:00.5Z"):
        return headers(attempt=attempt, seq=0, stream="stdout", offset=0, time=time, after=7)

    bad = [
        [],
        stdout(attempt=2**70),
        stdout(time="2026-01-01T00:00:00"),
        stdout(time="0001-01-01T00:00:00+14:00"),
    ]
    good = stdout()
    for given in (*bad, good, good):
        future = await stage.writer.send(topic, execution_id, b"hello", partition=0, headers=given)
        position = await stage.writer.acknowledged(future)
    future = await stage.writer.send(topic, "\0", b"hello", partition=0, headers=good)
    position = await stage.writer.acknowledged(future)
    await stage.views.wait_for([position])
    [chunk] = await stage.views.output_chunks(execution_id, 1)
    assert (chunk.offset, chunk.length, chunk.stream) == (len(bad), 5, "stdout")
    assert await stage.database.fetchval("SELECT count(*) FROM hermes.refused_output") == 5
