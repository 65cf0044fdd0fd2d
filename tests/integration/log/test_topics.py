"""Topics: declared in one place, created once however many roles start together."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from hermes.settings import Settings
from streams.topics import Topics, ensure_topics


async def configs(settings: Settings, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        (response,) = await admin.describe_configs([resource])
        (found,) = response.resources
        return {entry[0]: entry[1] for entry in found[4]}
    finally:
        await admin.close()


async def partitions(settings: Settings) -> dict[str, int]:
    """Our topics and how many partitions they have."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        names = [
            name
            for name in await admin.list_topics()
            if name.startswith(settings.topic_prefix + ".")
        ]
        described = await admin.describe_topics(names)
        return {topic["topic"]: len(topic["partitions"]) for topic in described}
    finally:
        await admin.close()


async def test_exactly_the_declared_topics_exist_afterwards(settings: Settings) -> None:
    await ensure_topics(settings, "default")
    prefix = settings.topic_prefix
    assert await partitions(settings) == {
        f"{prefix}.registry": 1,
        f"{prefix}.executions.default": 1,
        f"{prefix}.output.default": settings.output_partitions,
        f"{prefix}.heartbeats.default": 1,
    }


async def test_events_are_kept_for_good_and_flushed_before_they_count(settings: Settings) -> None:
    await ensure_topics(settings, "default")
    topics = Topics(settings.topic_prefix)
    for topic in (topics.registry, topics.executions("default")):
        found = await configs(settings, topic)
        assert found["flush.messages"] == "1", topic
    for topic in (topics.registry, topics.executions("default"), topics.output("default")):
        found = await configs(settings, topic)
        assert found["retention.ms"] == "-1", topic
        assert found["retention.bytes"] == "-1", topic
        assert found["cleanup.policy"] == "delete", topic
        assert found["message.timestamp.type"] == "LogAppendTime", topic
        assert found["min.insync.replicas"] == "1", topic


async def test_heartbeats_are_kept_an_hour(settings: Settings) -> None:
    await ensure_topics(settings, "default")
    found = await configs(settings, Topics(settings.topic_prefix).heartbeats("default"))
    assert found["retention.ms"] == "3600000"


async def test_a_second_call_changes_nothing(settings: Settings) -> None:
    await ensure_topics(settings, "default")
    before = await partitions(settings)
    await ensure_topics(settings, "default")
    assert await partitions(settings) == before


async def test_many_roles_may_create_them_at_once(settings: Settings) -> None:
    await asyncio.gather(*(ensure_topics(settings, "default") for _ in range(8)))
    assert len(await partitions(settings)) == 4


async def test_another_pool_adds_its_topics_beside_the_same_registry(settings: Settings) -> None:
    await ensure_topics(settings, "default")
    await ensure_topics(settings, "gpu")
    assert len(await partitions(settings)) == 7


async def test_a_replication_that_the_cluster_cannot_give_is_told(settings: Settings) -> None:
    wide = Settings(
        home=settings.home,
        kafka=settings.kafka,
        topic_prefix=settings.topic_prefix,
        replication=3,
    )
    with pytest.raises(Exception, match=r"(?i)replication"):
        await ensure_topics(wide, "default")
