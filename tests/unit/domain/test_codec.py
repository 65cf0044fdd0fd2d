"""Records as they stand in the log: samples of every kind, and what strangers may write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.domain import codec
from hermes.domain import events as ev
from hermes.domain.pool import PoolState
from hermes.domain.registry import RegistryState
from hermes.errors import LogError
from tests.unit.domain.making import (
    NOW_MS,
    POOL,
    REGISTRY,
    TOPIC,
    event,
    id_at,
    key_of,
    queued,
    requested,
    scheduled,
)

SAMPLES = {
    path.name.removesuffix(".json"): path.read_bytes()
    for path in sorted((Path(__file__).parent / "samples").glob("*.json"))
}


def sample(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SAMPLES[name])
    return found


def decoded(value: bytes) -> ev.Event:
    found = codec.decode(value)
    assert isinstance(found, ev.Event), found
    return found


def changed(name: str, **data: Any) -> bytes:
    """A sample with other data."""
    record = sample(name)
    record["data"] |= data
    return json.dumps(record).encode()


def kind_of(name: str) -> str:
    """As "agent.joined/1" of "agent.joined.1" and of "agent.joined.1.mig"."""
    group, what, version, *_ = name.split(".")
    return f"{group}.{what}/{version}"


def written_in(sample: Any, record: Any) -> bool:
    """Whether the record says all that the sample says; it may have fields that are newer."""
    if isinstance(sample, dict):
        return all(name in record and written_in(sample[name], record[name]) for name in sample)
    if isinstance(sample, list):
        return len(sample) == len(record) and all(map(written_in, sample, record))
    return bool(sample == record)


def test_every_kind_that_is_written_has_a_stored_sample() -> None:
    assert {kind_of(name) for name in SAMPLES} == set(ev.CATALOGUE)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_stored_sample_reads_and_writes_the_same(name: str) -> None:
    found = decoded(SAMPLES[name])
    assert type(found.data) is ev.CATALOGUE[found.kind]
    assert written_in(sample(name), json.loads(codec.encode(found)))
    assert codec.decode(codec.encode(found)) == found


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_has_the_envelope_that_any_tool_can_read(name: str) -> None:
    record = sample(name)
    assert list(record) == [
        "id",
        "kind",
        "occurred_at",
        "actor",
        "causation_id",
        "correlation_id",
        "data",
    ]
    assert record["kind"] == kind_of(name)


FIELDS = {
    "pool.created": "pool",
    "function.registered": "owner name version config source_sha256",
    "function.built": "version build_id artifact_sha256 toolchain",
    "function.build_failed": "version build_id exit_code reason",
    "function.deleted": "version",
    "execution.requested": "execution_id kind function version artifact_sha256 source_sha256 owner"
    " pool input limits gpu",
    "execution.queued": "execution_id reason",
    "execution.rejected": "execution_id reason",
    "execution.scheduled": "execution_id attempt agent incarnation epoch gpus lease",
    "execution.claimed": "execution_id attempt agent",
    "execution.started": "execution_id attempt agent output_partition output_offset",
    "execution.finished": "execution_id attempt outcome exit_code signal usage last_seq output",
    "execution.cancel_requested": "execution_id",
    "execution.attempt_lost": "execution_id attempt epoch reason output_end_offset",
    "execution.gpu_released": "execution_id attempt gpus",
    "agent.joined": "agent incarnation inventory",
    "agent.left": "agent reason",
    "agent.gpu_drained": "agent incarnation gpu reason",
    "agent.gpu_restored": "agent incarnation gpu",
    "scheduler.took_over": "scheduler epoch",
}


@pytest.mark.parametrize("kind", FIELDS)
def test_the_data_has_the_published_fields(kind: str) -> None:
    assert set(FIELDS[kind].split()) <= set(sample(f"{kind}.1")["data"])


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000000Z"),
        (datetime(2026, 1, 1, 0, 0, 0, 70, UTC), "2026-01-01T00:00:00.000070Z"),
    ],
)
def test_a_time_is_written_with_its_microseconds_also_when_they_are_zero(
    moment: datetime, text: str
) -> None:
    whole = msgspec.structs.replace(event(queued(id_at(1))), occurred_at=moment)
    assert json.loads(codec.encode(whole))["occurred_at"] == text
    assert decoded(codec.encode(whole)).occurred_at == moment


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    record = sample("execution.queued.1") | {"occurred_at": "2026-01-01T05:30:00+05:30"}
    assert decoded(json.dumps(record).encode()).occurred_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_fields_that_are_not_known_yet_are_passed_over() -> None:
    record = sample("execution.queued.1") | {"later": {"a": [1]}}
    record["data"]["later"] = "x"
    assert decoded(json.dumps(record).encode()) == decoded(SAMPLES["execution.queued.1"])


def test_an_envelope_may_leave_out_who_and_why() -> None:
    record = sample("execution.queued.1")
    for field in ("actor", "causation_id", "correlation_id"):
        del record[field]
    assert decoded(json.dumps(record).encode()).causation_id is None


@pytest.mark.parametrize("kind", ["execution.queued/2", "pool.created/10", "agent.left/99999999"])
def test_a_newer_version_of_a_known_kind_stops_its_reader(kind: str) -> None:
    record = sample("execution.queued.1") | {"kind": kind}
    with pytest.raises(LogError, match="upgrade"):
        codec.decode(json.dumps(record).encode())


@pytest.mark.parametrize(
    "kind",
    ["execution.exploded/1", "execution.queued", "execution.queued/", "execution.queued/0",
     "execution.queued/01", "execution.queued/-1", "execution.queued/²", "execution.queued/1/2",
     "execution.queued/" + "9" * 4000, "", "/", "EXECUTION.QUEUED/1", "execution.exploded/2"],
)  # fmt: skip
def test_an_unknown_kind_is_malformed_and_halts_nobody(kind: str) -> None:
    record = sample("execution.queued.1") | {"kind": kind}
    assert isinstance(codec.decode(json.dumps(record).encode()), ev.Malformed)


def test_an_unknown_kind_of_any_length_is_told_shortly() -> None:
    record = sample("execution.queued.1") | {"kind": "x" * 500_000}
    found = codec.decode(json.dumps(record).encode())
    assert isinstance(found, ev.Malformed)
    assert len(found.reason) < 1000


GOOD = SAMPLES["execution.queued.1"]
NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[]",
        b"{}",
        b"not JSON",
        b"\x00\x01\x02\xff",
        b"\xef\xbb\xbf" + GOOD,
        GOOD + GOOD,
        GOOD.replace(b'"actor": "test"', b'"actor": "a\xff"'),
        GOOD.replace(b'"actor": "test"', b'"actor": "a\\u0000b"'),
        GOOD.replace(b'"actor": "test"', b'"actor": "a\\\\\\u0000b"'),
        GOOD.replace(b'"actor": "test"', b'"actor": "a\x00b"'),
        GOOD.replace(b'"actor": "test"', b'"actor": "\\ud800"'),
        GOOD.replace(b'"actor": "test"', b'"actor": 7'),
        GOOD.replace(b'"data": {', b'"data": [{'),
        GOOD.replace(b'"reason"', b'"Reason"'),
        b'{"x":' + NESTED + b"," + GOOD[1:],
        GOOD.replace(b'"data": {', b'"data": {"x":' + NESTED + b","),
        b'{"x":"' + b"y" * (codec.MAX_EVENT_BYTES + 1) + b'",' + GOOD[1:],
    ],
)
def test_bytes_that_are_no_event_are_malformed(value: bytes | None) -> None:
    assert isinstance(codec.decode(value), ev.Malformed)


def test_a_backslash_before_zeros_is_no_nul() -> None:
    value = GOOD.replace(b'"actor": "test"', b'"actor": "a\\\\u0000b"')
    assert decoded(value).actor == "a\\u0000b"


@pytest.mark.parametrize(
    "moment",
    ["2026-01-01T00:00:00", "2026-01-01", "", "yesterday", 7, None, "0001-01-01T00:00:00+05:00",
     "9999-12-31T23:59:59-05:00", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+99:00"],
)  # fmt: skip
def test_a_time_that_is_none_or_has_no_zone_is_malformed(moment: Any) -> None:
    record = sample("execution.queued.1") | {"occurred_at": moment}
    assert isinstance(codec.decode(json.dumps(record).encode()), ev.Malformed)


@pytest.mark.parametrize(
    "event_id",
    ["", "x", "7", "00000000-0000-0000-0000-000000000000", "0190b6a1-0000-4000-8000-000000000000",
     id_at(1).upper(), id_at(1) + "\n", "é" * 36],
)  # fmt: skip
def test_an_id_that_is_no_uuidv7_is_malformed(event_id: str) -> None:
    record = sample("function.registered.1") | {"id": event_id}
    assert isinstance(codec.decode(json.dumps(record).encode()), ev.Malformed)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("execution.scheduled.1", {"attempt": -1}),
        ("execution.scheduled.1", {"attempt": 2**63}),
        ("execution.scheduled.1", {"attempt": 1.5}),
        ("execution.scheduled.1", {"attempt": True}),
        ("execution.scheduled.1", {"epoch": 10**30}),
        ("execution.scheduled.1", {"gpus": None}),
        ("execution.scheduled.1", {"gpus": [7]}),
        ("execution.scheduled.1", {"gpus": "GPU-1"}),
        ("execution.scheduled.1", {"lease": -1.0}),
        ("execution.started.1", {"output_partition": -1}),
        ("execution.started.1", {"output_offset": 2**64}),
        ("execution.attempt_lost.1", {"output_end_offset": -2}),
        ("execution.finished.1", {"exit_code": 2**64}),
        ("execution.finished.1", {"output": {"stdout": {"bytes": -1, "sha256": ""}}}),
        ("execution.finished.1", {"usage": {"wall_time": "long"}}),
        (
            "execution.finished.1",
            {
                "usage": {
                    "wall_time": 1,
                    "cpu_time": 1,
                    "peak_memory": 1,
                    "output_bytes": 1,
                    "gpu_samples": [{"time": 1, "utilisation": -1, "memory": 1}],
                }
            },
        ),
        ("agent.gpu_drained.1", {"gpu": None}),
        ("execution.requested.1", {"limits": {"memory": -1}}),
        ("execution.requested.1", {"gpu": {"count": 0}}),
        ("execution.requested.1", {"gpu": {"count": -1}}),
        ("execution.requested.1", {"retries": -1}),
        ("execution.requested.1", {"kind": None}),
        ("agent.joined.1", {"inventory": {"slots": -4, "cpus": 1, "memory": 1}}),
        ("agent.joined.1", {"inventory": {}}),
        ("function.registered.1", {"config": []}),
        ("function.registered.1", {"config": "{}"}),
    ],
)
def test_data_that_cannot_be_is_malformed(name: str, data: dict[str, Any]) -> None:
    assert isinstance(codec.decode(changed(name, **data)), ev.Malformed)


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"NaN", b"Infinity", b"9" * 5000])
def test_numbers_out_of_every_range_are_malformed(number: bytes) -> None:
    value = codec.encode(event(scheduled(id_at(1)))).replace(b"10.0", number)
    assert isinstance(codec.decode(value), ev.Malformed)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.data(),
    st.integers(0, 2),
)
def test_a_sample_with_anything_in_any_place_is_read_or_malformed_and_folded(
    name: str, data: st.DataObject, where: int
) -> None:
    record = sample(name)
    place = record if where == 0 else record["data"]
    field = data.draw(st.sampled_from([one for one in place if one != "kind"]))
    place[field] = data.draw(json_values)
    found = codec.decode(json.dumps(record).encode())
    key = key_of(found.data) if isinstance(found, ev.Event) else ""
    one = ev.Recorded(TOPIC, 0, 0, NOW_MS, key, found)
    pool, registry = PoolState(pool=POOL, topic=TOPIC), RegistryState(topic=REGISTRY)
    pool.apply(one)
    registry.apply(one)
    msgspec.msgpack.encode(pool)
    if isinstance(found, ev.Event):
        assert codec.decode(codec.encode(found)) == found


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 60))
def test_a_damaged_record_is_read_or_malformed(noise: bytes, at: int, length: int) -> None:
    value = GOOD[:at] + noise + GOOD[at + length :]
    assert isinstance(codec.decode(value), ev.Event | ev.Malformed)


def test_a_request_holds_everything_and_no_users_bytes() -> None:
    fields = set(json.loads(codec.encode(event(requested(id_at(1)))))["data"])
    assert {"artifact_sha256", "limits", "gpu", "input", "handler"} <= fields
    assert "stdin" not in fields
