"""The cluster that other integration tests stand on."""

from __future__ import annotations

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.cluster import Cluster


async def test_a_record_of_one_mebibyte_comes_back(cluster: Cluster) -> None:
    topic = f"{cluster.topic_prefix}.large"
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    value = b"x" * (1 << 20)
    async with AIOKafkaProducer(bootstrap_servers=cluster.kafka, max_request_size=2 << 20) as out:
        await out.send_and_wait(topic, value)
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=cluster.kafka, auto_offset_reset="earliest"
    ) as records:
        assert (await records.getone()).value == value


async def test_the_role_that_hermes_uses_is_no_superuser(cluster: Cluster) -> None:
    connection = await asyncpg.connect(cluster.database_url)
    try:
        superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        assert await connection.fetchval(superuser) is False
        await connection.execute("CREATE SCHEMA mine")
        await connection.execute("DROP SCHEMA mine")
    finally:
        await connection.close()
