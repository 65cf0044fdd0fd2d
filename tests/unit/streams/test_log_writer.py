"""What waits in the producer."""

from __future__ import annotations

import time

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import TopicPartition

from streams.log import LogWriter

HOURS = 5 * 3600.0


async def test_a_record_waits_for_a_leader_as_long_as_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It may have a number already, without which the broker would refuse all later ones.
    writer = LogWriter("127.0.0.1:1", timeout=1.0)
    waiting = writer._producer._message_accumulator
    partition = TopicPartition("topic", 0)
    assert isinstance(waiting._cluster, ClusterMetadata)
    assert waiting._cluster.leader_for_partition(partition) is None
    record = await waiting.add_message(partition, None, b"value", timeout=1.0)

    later = time.monotonic() + HOURS
    with monkeypatch.context() as hours_later:
        hours_later.setattr(time, "monotonic", lambda: later)
        ready, leaders_are_missing = waiting.drain_by_nodes(ignore_nodes=[])[:2]
    assert (dict(ready), leaders_are_missing) == ({}, True)
    assert not record.done()
    record.cancel()
    await writer.stop()
