"""A partition as a projector needs it: gapless, and surely the one that was read before."""

from __future__ import annotations

import hashlib

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.structs import ConsumerRecord

from hermes.errors import LogUnavailable
from projections.checkpoints import Checkpoint, LogMismatch
from streams.client import CLIENT
from streams.log import PartitionReader

_MOST = 2000


class PartitionLog:
    """Reads on from an offset, checking that no record is missing."""

    def __init__(self, bootstrap: str, topic: str, partition: int, most: int = _MOST) -> None:
        self.topic = topic
        self.partition = partition
        self.first_record: str | None = None
        self._most = most
        self._next = 0
        # A long poll: the broker answers at once when there is a record.
        self._reader = PartitionReader(bootstrap, topic, partition, max_wait_ms=500)

    async def start(self) -> None:
        """Connect, and remember what the partition's first record is."""
        await self._reader.start()
        await self._identify()

    async def stop(self) -> None:
        """Disconnect."""
        await self._reader.stop()

    async def check(self, checkpoint: Checkpoint) -> None:
        """Raises LogMismatch if this cannot be the log that the checkpoint stands in."""
        where = f"{self.topic}/{self.partition}"
        end = await self._reader.end_offset()
        if checkpoint.next_offset > end:
            raise LogMismatch(
                f"{checkpoint.projection} has read {where} up to {checkpoint.next_offset}, but the "
                f"log ends at {end}: records were lost. Rebuild the projection from this log"
            )
        beginning = await self._reader.beginning_offset()
        if checkpoint.next_offset < beginning:
            raise LogMismatch(
                f"{where} begins at {beginning} by now, but {checkpoint.projection} has read it up "
                f"to {checkpoint.next_offset} only. Rebuild the projection from what is left"
            )
        known = checkpoint.first_record
        if known and self.first_record and known != self.first_record:
            raise LogMismatch(
                f"{where} is not the log that {checkpoint.projection} was made from: its first "
                "record differs. Rebuild the projection from this log"
            )

    async def end_offset(self) -> int:
        """The offset that the next record will get."""
        return await self._reader.end_offset()

    async def beginning_offset(self) -> int:
        """The first offset that is kept."""
        return await self._reader.beginning_offset()

    def seek(self, offset: int) -> None:
        """Read on from `offset`."""
        self._next = offset
        self._reader.seek(offset)

    async def batch(self, wait: float = 0.5) -> list[ConsumerRecord]:
        """The next records; none after `wait` seconds. Raises LogMismatch if one is missing."""
        records = await self._reader.batch(wait=wait, most=self._most)
        for record in records:
            if record.offset != self._next:
                raise LogMismatch(
                    f"{self.topic}/{self.partition}/{self._next} is gone, the next record is at "
                    f"{record.offset}"
                )
            self._next += 1
        if records and self.first_record is None and records[0].offset == 0:
            self.first_record = fingerprint(records[0])
        return records

    async def _identify(self) -> None:
        # Without the first record (an archived output topic) there is nothing to compare.
        if await self._reader.beginning_offset() == 0 and await self._reader.end_offset() > 0:
            self._reader.seek(0)
            while self.first_record is None:
                records = await self._reader.batch(wait=1.0, most=1)
                if records:
                    self.first_record = fingerprint(records[0])


def fingerprint(record: ConsumerRecord) -> str:
    """SHA-256 over a record's time, key and value."""
    digest = hashlib.sha256(b"%d\n" % record.timestamp)
    for part in (record.key, record.value):
        digest.update(b"%d\n" % (-1 if part is None else len(part)))
        digest.update(part or b"")
    return digest.hexdigest()


async def partitions_of(bootstrap: str, topic: str) -> list[int]:
    """The topic's partitions. Raises LogUnavailable if it does not exist (yet)."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **CLIENT)
    await admin.start()
    try:
        [found] = await admin.describe_topics([topic])
    finally:
        await admin.close()
    if found["error_code"]:
        raise LogUnavailable(f"no topic {topic}: {for_code(found['error_code'])()}")
    return sorted(partition["partition"] for partition in found["partitions"])
