"""A snapshot is a shortcut to the same state, and is passed over whenever it might not be."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hermes.domain.pool import RULES, Applied, Ended, PoolState
from infra.blobs import BlobStore
from streams.fold import LogFold
from streams.snapshots import Snapshots
from tests.integration.log.conftest import Pool
from tests.unit.domain.making import event, id_at, joined


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path / "blobs"))


async def append(pool: Pool, *agents: str) -> None:
    for agent in agents:
        await pool.writer.append(pool.executions, agent, event(joined(agent)))


async def folded(pool: Pool, blobs: BlobStore | None = None) -> tuple[PoolState, int]:
    """The state at the end of the topic, and how many records were read for it."""
    read = []
    name = pool.settings.pool
    fold: LogFold[PoolState, Applied] = LogFold(
        PoolState(pool=name, topic=pool.executions), pool.reader(), pool.executions
    )
    fold.listen(lambda record, applied: read.append(record.offset))
    try:
        await fold.start(Snapshots(blobs).restore if blobs else None)
    finally:
        await fold.stop()
    return fold.state, len(read)


async def test_a_fold_goes_on_from_a_snapshot_to_the_same_state(
    pool: Pool, blobs: BlobStore
) -> None:
    await append(pool, "a1", "a2")
    before, _ = await folded(pool)
    await Snapshots(blobs).save(before)
    await append(pool, "a3")
    whole, all_read = await folded(pool)
    restored, read = await folded(pool, blobs)
    assert (all_read, read) == (3, 1)
    assert msgspec.to_builtins(restored) == msgspec.to_builtins(whole)


async def test_a_snapshot_of_an_older_topic_of_the_same_name_is_passed_over(
    pool: Pool, blobs: BlobStore
) -> None:
    await append(pool, "a1", "a2")
    state, _ = await folded(pool)
    state.began -= 1
    await Snapshots(blobs).save(state)
    restored, read = await folded(pool, blobs)
    assert read == 2
    assert set(restored.agents) == {"a1", "a2"}


async def test_a_snapshot_beyond_the_end_of_the_topic_is_passed_over(
    pool: Pool, blobs: BlobStore
) -> None:
    await append(pool, "a1")
    state, _ = await folded(pool)
    state.next_offset = 7
    await Snapshots(blobs).save(state)
    assert (await folded(pool, blobs))[1] == 1


async def test_a_snapshot_of_other_rules_is_passed_over(pool: Pool, blobs: BlobStore) -> None:
    await append(pool, "a1")
    state, _ = await folded(pool)
    other = msgspec.msgpack.encode({"rules": RULES + 1, "state": state})
    await blobs.put_named(f"snapshots/{pool.executions}", other)
    assert (await folded(pool, blobs))[1] == 1


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x82\xa5rules\x01\xa5state\x80", b"x" * 999])
async def test_a_damaged_snapshot_is_passed_over(
    pool: Pool, blobs: BlobStore, damage: bytes
) -> None:
    await append(pool, "a1")
    await blobs.put_named(f"snapshots/{pool.executions}", damage)
    assert (await folded(pool, blobs))[1] == 1


async def test_a_snapshot_is_due_again_only_after_many_records(
    pool: Pool, blobs: BlobStore
) -> None:
    snapshots = Snapshots(blobs)
    state = PoolState(pool="default", topic=pool.executions, next_offset=20_000)
    assert snapshots.is_due(state)
    await snapshots.save(state)
    assert not snapshots.is_due(state)
    state.next_offset = 40_000
    assert snapshots.is_due(state)
    state.ended = {id_at(number): Ended("finished", "succeeded") for number in range(30_000)}
    assert not snapshots.is_due(state)
