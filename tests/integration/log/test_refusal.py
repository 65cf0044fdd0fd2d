"""A record that the broker refuses for good ends the process that sent it."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError

from hermes.errors import LogError, LogUnavailable
from tests.integration.log.conftest import Pool
from tests.unit.domain.making import event, joined


async def refuse_large_records(pool: Pool) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=pool.settings.bootstrap)
    await admin.start()
    try:
        topic = ConfigResource(
            ConfigResourceType.TOPIC, pool.executions, configs={"max.message.bytes": "2000"}
        )
        await admin.alter_configs([topic])
    finally:
        await admin.close()
    # The broker acknowledges the setting before it heeds it.
    async with AIOKafkaProducer(bootstrap_servers=pool.settings.bootstrap) as probing:
        async with asyncio.timeout(30):
            with pytest.raises(MessageSizeTooLargeError):
                while True:
                    await probing.send_and_wait(pool.executions, b"x" * 4000)
                    await asyncio.sleep(0.05)


async def test_a_writer_that_can_write_no_more_says_so(pool: Pool) -> None:
    watching = asyncio.create_task(pool.writer.watch())
    await refuse_large_records(pool)
    await pool.writer.append(pool.executions, "a1", event(joined("a1")))
    assert not watching.done()
    sent = await pool.writer.send(pool.executions, "x", b"x" * 4000)
    with pytest.raises(LogUnavailable, match="MessageSizeTooLarge"):
        await pool.writer.acknowledged(sent)
    with pytest.raises(LogError):
        await asyncio.wait_for(watching, 5)
    with pytest.raises(LogUnavailable, match="OutOfOrderSequence"):
        await pool.writer.append(pool.executions, "a2", event(joined("a2")))
