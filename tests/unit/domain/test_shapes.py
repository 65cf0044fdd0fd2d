"""What REST, the CLI and the views show: exact keys, null for what is absent, times in full."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from hermes.domain import events as ev
from hermes.domain.resources import StreamDigest, Usage
from hermes.domain.shapes import User, event_shape, execution_shape, function_shape
from hermes.domain.times import timestamp
from tests.unit.domain.making import (
    REGISTRY,
    TOPIC,
    PoolPartition,
    RegistryPartition,
    attempt_lost,
    build_failed,
    built,
    cancel_requested,
    claimed,
    event,
    finished,
    gpu,
    id_at,
    joined,
    queued,
    registered,
    rejected,
    requested,
    scheduled,
    started,
    took_over,
    wants,
)

X = id_at(1)
FULL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")


def words(text: str) -> set[str]:
    return set(text.split())


EXECUTION = words(
    "id kind function owner pool status outcome reason exit_code signal attempt attempts limits gpu"
    " input output usage created_at started_at finished_at cancel_requested_at positions"
)
FUNCTION = words(
    "id owner name version language gpu_capable scope handler limits gpu status build_id"
    " source_sha256 artifact_sha256 error created_at built_at position"
)
ATTEMPT = words("attempt agent gpus status scheduled_at claimed_at started_at ended_at reason")
USAGE = words(
    "wall_time cpu_time peak_memory output_bytes gpu_time gpu_peak_memory gpu_utilisation"
    " gpu_energy gpu_samples"
)
EVENT = words(
    "id kind version occurred_at actor causation_id correlation_id data position superseded"
)


def shown(shape: object) -> dict[str, Any]:
    """As a client reads it."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(shape))
    return found


def after(*facts: ev.EventData) -> dict[str, Any]:
    """The execution as it is shown after these facts."""
    pool = PoolPartition()
    pool.accept(took_over(), joined("a1", "i1", gpu("g1")))
    execution = None
    for data in facts:
        applied = pool.append(data)
        assert not applied.superseded, applied.misfit
        execution = applied.execution
    assert execution is not None
    return shown(execution_shape(execution))


def times(value: Any) -> list[str]:
    """Every value of a key that ends in _at, at any depth."""
    if isinstance(value, dict):
        own = [v for k, v in value.items() if k.endswith("_at") and v is not None]
        return own + [found for one in value.values() for found in times(one)]
    if isinstance(value, list):
        return [found for one in value for found in times(one)]
    return []


FINISHED = finished(
    X,
    output={
        "stdout": StreamDigest(bytes=3, sha256="c" * 64),
        "stderr": StreamDigest(bytes=0, sha256="d" * 64),
    },
    usage=Usage(wall_time=1.5, cpu_time=1.25, peak_memory=4096, output_bytes=3),
    last_seq=0,
)
RUN = (requested(X, gpu=wants()), scheduled(X, gpus=("g1",)), claimed(X), started(X), FINISHED)


def test_a_finished_execution_shows_everything_under_its_agreed_name() -> None:
    execution = after(*RUN)
    assert set(execution) - {"artifact_sha256", "error"} == EXECUTION
    assert set(execution["attempts"][0]) == ATTEMPT
    assert set(execution["usage"]) == USAGE
    assert execution["usage"]["gpu_time"] is None
    assert execution["limits"] == {
        "time": 600.0,
        "memory": 2**30,
        "cpus": 1.0,
        "output": 10 * 2**20,
        "processes": 256,
    }
    assert execution["gpu"] == {
        "count": 1,
        "memory": None,
        "name": None,
        "compute_capability": None,
    }
    assert execution["input"].keys() == {"bytes", "sha256"}
    assert execution["output"]["stdout"] == {"bytes": 3, "sha256": "c" * 64}
    assert execution["function"] == "ada/primes:1.0.0"
    assert (execution["status"], execution["outcome"]) == ("finished", "succeeded")
    assert (execution["exit_code"], execution["signal"]) == (0, None)
    assert execution["attempts"][0]["gpus"] == ["g1"]
    assert execution["positions"] == {
        "requested": {"topic": TOPIC, "partition": 0, "offset": 2},
        "started": {"topic": TOPIC, "partition": 0, "offset": 5},
        "finished": {"topic": TOPIC, "partition": 0, "offset": 6},
    }


@pytest.mark.parametrize("steps", range(1, len(RUN) + 1))
def test_every_time_has_microseconds_and_ends_in_z_at_every_stage(steps: int) -> None:
    execution = after(*RUN[:steps])
    found = times(execution)
    assert found
    assert all(FULL_TIME.match(one) for one in found), found


def test_what_has_not_happened_is_null_and_not_missing() -> None:
    execution = after(requested(X))
    for field in words(
        "outcome reason exit_code signal gpu output usage started_at finished_at"
        " cancel_requested_at"
    ):
        assert execution[field] is None, field
    assert execution["attempt"] == 0
    assert execution["attempts"] == []
    assert execution["positions"]["started"] is None
    assert execution["positions"]["finished"] is None


def test_started_is_told_of_the_newest_attempt_that_started() -> None:
    first = (requested(X), scheduled(X), claimed(X), started(X), attempt_lost(X))
    assert after(*first)["positions"]["started"]["offset"] == 5
    again = (*first, scheduled(X, 2), claimed(X, 2))
    assert after(*again)["positions"]["started"]["offset"] == 5
    execution = after(*again, started(X, 2))
    assert execution["positions"]["started"]["offset"] == 9
    assert execution["attempt"] == 2
    assert execution["attempts"][0]["reason"] == "lease_expired"
    assert execution["started_at"] == execution["attempts"][1]["started_at"]


def test_a_waiting_or_refused_execution_tells_why() -> None:
    assert after(requested(X), queued(X, "every agent is busy"))["reason"] == "every agent is busy"
    refused = after(requested(X), rejected(X, "no such GPU"))
    assert (refused["status"], refused["outcome"]) == ("rejected", None)
    assert refused["reason"] == "no such GPU"
    assert refused["finished_at"] is not None


def test_an_execution_cancelled_before_it_ran_has_no_output() -> None:
    end = finished(X, 0, outcome="cancelled", exit_code=None)
    execution = after(requested(X), cancel_requested(X), end)
    assert execution["outcome"] == "cancelled"
    assert execution["output"] is None
    assert FULL_TIME.match(execution["cancel_requested_at"])


def test_by_a_signal_there_is_no_exit_code() -> None:
    end = finished(X, outcome="failed", exit_code=None, signal=11)
    execution = after(*RUN[:-1], end)
    assert (execution["exit_code"], execution["signal"]) == (None, 11)


def test_a_build_shows_its_artifact_or_its_error() -> None:
    build = (requested(X, execution_kind="build"), scheduled(X), claimed(X), started(X))
    good = after(*build, finished(X, artifact_sha256="e" * 64))
    assert (good["kind"], good["artifact_sha256"], good["error"]) == ("build", "e" * 64, None)
    bad = after(*build, finished(X, outcome="failed", exit_code=2, reason="make failed"))
    assert (bad["artifact_sha256"], bad["error"]) == (None, "make failed")
    assert after(*RUN)["artifact_sha256"] is None


def registry() -> tuple[RegistryPartition, str]:
    partition = RegistryPartition()
    first = id_at(77)
    partition.append(
        registered(
            gpuCapable=True,
            gpu={"count": 2, "computeCapability": "8.0"},
            limits={"time": 5.0},
            scope="public",
        ),
        event_id=first,
    )
    return partition, first


def test_a_function_shows_everything_under_its_agreed_name() -> None:
    partition, first = registry()
    applied = partition.append(built(first))
    assert applied.function is not None
    function = shown(function_shape(applied.function))
    assert set(function) == FUNCTION
    assert function["id"] == "ada/primes:1.0.0"
    assert (function["gpu_capable"], function["scope"]) == (True, "public")
    assert function["gpu"] == {
        "count": 2,
        "memory": None,
        "name": None,
        "compute_capability": "8.0",
    }
    assert function["limits"] == {
        "time": 5.0,
        "memory": 1 << 30,
        "cpus": 1.0,
        "output": 10 << 20,
        "processes": 256,
    }
    assert (function["status"], function["artifact_sha256"]) == ("built", "a" * 64)
    assert function["position"] == {"topic": REGISTRY, "partition": 0, "offset": 0}
    assert all(FULL_TIME.match(one) for one in times(function))
    assert function["built_at"] is not None


def test_a_failed_build_shows_its_error() -> None:
    partition, first = registry()
    applied = partition.append(build_failed(first))
    assert applied.function is not None
    function = shown(function_shape(applied.function))
    assert (function["status"], function["error"]) == ("build_failed", "make failed")
    assert function["built_at"] is None


@pytest.mark.parametrize(
    "config",
    [{}, {"limits": None, "gpu": None}, {"language": 7, "limits": "x", "gpu": {"count": 0}}],
)
def test_a_config_that_was_never_checked_does_not_break_a_function(config: Any) -> None:
    data = msgspec.structs.replace(registered(), config=config)
    applied = RegistryPartition().append(data)
    assert applied.function is not None
    assert set(shown(function_shape(applied.function))) == FUNCTION


def test_an_event_shows_its_kind_and_version_apart() -> None:
    record = ev.Recorded(TOPIC, 0, 9, 1_790_000_000_000, X, event(scheduled(X, gpus=("g1",)), 4))
    found = shown(event_shape(record, superseded=False))
    assert set(found) == EVENT
    assert (found["kind"], found["version"]) == ("execution.scheduled", 1)
    assert found["position"] == {"topic": TOPIC, "partition": 0, "offset": 9}
    assert found["superseded"] is False
    assert found["data"]["gpus"] == ["g1"]
    assert "kind" not in found["data"]
    assert FULL_TIME.match(found["occurred_at"])


def test_the_kind_of_an_execution_stands_in_its_request() -> None:
    record = ev.Recorded(TOPIC, 0, 0, 1_790_000_000_000, X, event(requested(X)))
    data = shown(event_shape(record, superseded=False))["data"]
    assert data["kind"] == "run"
    assert "execution_kind" not in data


def test_a_malformed_record_is_shown_with_the_brokers_time() -> None:
    record = ev.Recorded(TOPIC, 0, 3, 1_790_000_000_000, "x", ev.Malformed("not an event"))
    found = shown(event_shape(record, superseded=True))
    assert set(found) == EVENT
    assert (found["kind"], found["superseded"]) == ("malformed", True)
    assert found["data"] == {"reason": "not an event"}
    assert found["occurred_at"] == "2026-09-21T14:13:20.000000Z"


def test_a_user_is_shown_under_agreed_names() -> None:
    user = User(username="ada", admin=True, created_at=timestamp(datetime(2026, 1, 1, tzinfo=UTC)))
    assert shown(user) == {
        "username": "ada",
        "admin": True,
        "created_at": "2026-01-01T00:00:00.000000Z",
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 0, UTC), "2026-01-02T03:04:05.000000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 60, UTC), "2026-01-02T03:04:05.000060Z"),
        (
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2026-01-01T21:34:05.000000Z",
        ),
        (datetime(999, 1, 1, tzinfo=UTC), "0999-01-01T00:00:00.000000Z"),
    ],
)
def test_a_time_is_written_in_utc_with_six_digits(moment: datetime, text: str) -> None:
    assert timestamp(moment) == text
