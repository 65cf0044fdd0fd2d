"""The registry: the first registration holds, and only its own build can change it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hermes.domain import codec
from hermes.domain import events as ev
from hermes.domain.ids import is_id
from hermes.domain.registry import RegistryState, build_id_of
from tests.unit.domain.making import (
    NOW_MS,
    POOL,
    REGISTRY,
    RegistryPartition,
    build_failed,
    built,
    content,
    deleted,
    event,
    id_at,
    joined,
    queued,
    registered,
)

FIRST, SECOND = id_at(101), id_at(102)


def with_registered() -> RegistryPartition:
    registry = RegistryPartition()
    assert not registry.append(registered(), event_id=FIRST).superseded
    return registry


def test_of_two_registrations_the_first_in_the_log_holds() -> None:
    registry = with_registered()
    second = registry.append(registered(owner="ada", handler="./other"), event_id=SECOND)
    assert second.misfit == "the version exists"
    assert second.function is not None
    assert second.function.registered_event == FIRST
    assert second.function.config["handler"] == "./primes"


def test_another_version_or_owner_is_another_function() -> None:
    registry = with_registered()
    assert not registry.append(registered(version="1.0.1"), event_id=SECOND).superseded
    assert not registry.append(
        registered(owner="bob"), key="bob/primes", event_id=id_at(103)
    ).superseded
    assert sorted(registry.state.functions) == ["ada/primes", "bob/primes"]
    assert sorted(registry.state.functions["ada/primes"]) == ["1.0.0", "1.0.1"]


def test_a_build_makes_a_version_runnable() -> None:
    registry = with_registered()
    function = registry.append(built(FIRST)).function
    assert function is not None
    assert (function.status, function.artifact_sha256) == ("built", "a" * 64)
    assert function.built_at is not None


def test_the_build_of_another_registration_changes_nothing() -> None:
    registry = with_registered()
    assert registry.append(built(SECOND)).superseded
    assert registry.append(build_failed(SECOND)).superseded
    assert registry.state.functions["ada/primes"]["1.0.0"].status == "registered"


def test_a_version_whose_build_failed_may_be_registered_again() -> None:
    registry = with_registered()
    assert not registry.append(build_failed(FIRST)).superseded
    again = registry.append(registered(), event_id=SECOND)
    assert not again.superseded
    assert again.function is not None
    assert (again.function.status, again.function.error) == ("registered", None)
    assert registry.append(built(FIRST)).superseded
    assert not registry.append(built(SECOND)).superseded


@pytest.mark.parametrize("late", [built(FIRST), build_failed(FIRST)])
def test_the_first_verdict_on_a_build_holds(late: ev.EventData) -> None:
    registry = with_registered()
    registry.append(built(FIRST))
    assert registry.append(late).superseded
    assert registry.state.functions["ada/primes"]["1.0.0"].status == "built"


def test_a_deleted_version_stays_deleted_whatever_its_build_says() -> None:
    registry = with_registered()
    assert not registry.append(deleted()).superseded
    assert registry.append(deleted()).superseded
    assert registry.append(built(FIRST)).superseded
    assert registry.state.functions["ada/primes"]["1.0.0"].status == "deleted"


@pytest.mark.parametrize("data", [deleted("9.9.9"), built(FIRST, "9.9.9")])
def test_what_was_never_registered_is_neither_built_nor_deleted(data: ev.EventData) -> None:
    assert with_registered().append(data).superseded


def test_an_event_under_another_functions_key_is_superseded() -> None:
    registry = RegistryPartition()
    assert registry.append(registered(), key="bob/primes").superseded
    assert registry.state.functions == {}


def test_a_pool_is_created_once_and_under_its_own_key() -> None:
    registry = RegistryPartition()
    created = ev.PoolCreated(pool="gpu")
    assert registry.append(created, key="cpu").superseded
    assert registry.append(created, key="gpu").pool == "gpu"
    assert registry.append(created, key="gpu").superseded
    assert registry.state.pools == {"gpu": 1}


@pytest.mark.parametrize("data", [joined(), queued(id_at(1))])
def test_events_of_a_pool_do_not_belong_here(data: ev.EventData) -> None:
    assert RegistryPartition().append(data).superseded


@pytest.mark.parametrize("event_id", ["", "x", "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"])
def test_an_event_whose_id_is_none_changes_nothing(event_id: str) -> None:
    registry = RegistryPartition()
    record = registry.record(registered(), "ada/primes")
    assert isinstance(record.event, ev.Event)
    broken = msgspec.structs.replace(record.event, id=event_id)
    assert registry.state.apply(msgspec.structs.replace(record, event=broken)).superseded


def test_a_builds_id_follows_from_the_registration_and_from_nothing_else() -> None:
    assert is_id(build_id_of(FIRST))
    assert build_id_of(FIRST) == build_id_of(FIRST) != build_id_of(SECOND)
    assert build_id_of(FIRST)[:13] == FIRST[:13]


names = st.sampled_from(["ada", "bob"])
versions = st.sampled_from(["1.0.0", "2.0.0", ""])
event_ids = st.integers(0, 5).map(lambda number: id_at(200 + number))
facts: st.SearchStrategy[ev.EventData] = st.one_of(
    st.builds(registered, st.just("primes"), versions, names),
    st.builds(registered, st.just("primes"), versions, names),
    st.builds(built, event_ids, versions),
    st.builds(build_failed, event_ids, versions),
    st.builds(deleted, versions),
    st.builds(ev.PoolCreated, pool=st.sampled_from([POOL, "gpu"])),
    st.just(joined()),
)
keys = st.sampled_from(["ada/primes", "ada/primes", "bob/primes", POOL, "gpu", ""])
records = st.lists(st.tuples(facts, keys, event_ids, st.integers(0, 9)), max_size=40).map(
    lambda rows: [
        ev.Recorded(
            REGISTRY,
            0,
            offset,
            NOW_MS + offset,
            key,
            event(data, offset, event_id) if luck else ev.Malformed("made up"),
        )
        for offset, (data, key, event_id, luck) in enumerate(rows)
    ]
)
QUICK = settings(
    max_examples=200, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)


@QUICK
@given(records)
def test_whatever_comes_a_version_is_built_from_its_own_registration_only(
    log: list[ev.Recorded],
) -> None:
    state = RegistryState(topic=REGISTRY)
    for record in log:
        before = content(state)
        before["functions"] = {key: dict(value) for key, value in state.functions.items()}
        applied = state.apply(record)
        after: dict[str, Any] = content(state)
        if applied.superseded:
            assert after["pools"] == before["pools"]
            assert {k: v for k, v in after["functions"].items() if v} == {
                k: v for k, v in before["functions"].items() if v
            }
        function = applied.function
        if function is not None and not applied.superseded:
            assert record.key == f"{function.owner}/{function.name}"
            assert state.functions[record.key][function.version] == function
            assert function.build_id == build_id_of(function.registered_event)
            old = before["functions"].get(record.key, {}).get(function.version)
            allowed = {
                None: {"registered"},
                "registered": {"built", "build_failed", "deleted"},
                "built": {"deleted"},
                "build_failed": {"registered", "deleted"},
                "deleted": {"registered"},
            }
            assert function.status in allowed[old.status if old else None]


@QUICK
@given(records, st.integers(0, 40))
def test_every_reader_has_the_same_registry(log: list[ev.Recorded], cut: int) -> None:
    expected = RegistryState(topic=REGISTRY)
    state = RegistryState(topic=REGISTRY)
    for record in log:
        expected.apply(record)
        if record.offset == cut:
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=RegistryState)
        if isinstance(record.event, ev.Event):
            reread = msgspec.structs.replace(record, event=codec.decode(codec.encode(record.event)))
            state.apply(reread)
        else:
            state.apply(record)
    assert state == expected
