"""Every topic, declared in one place and created explicitly, never by auto-creation."""

from __future__ import annotations

import asyncio

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from hermes.settings import Settings
from streams.client import CLIENT

MAX_RECORD_BYTES = 1024 * 1024 + 64 * 1024
HOUR_MS = 3_600_000


class Topics(msgspec.Struct, frozen=True):
    """Names of topics under a prefix."""

    prefix: str = "hermes"

    @property
    def registry(self) -> str:
        """Function events and `pool.created`; one partition."""
        return f"{self.prefix}.registry"

    def executions(self, pool: str) -> str:
        """The pool's execution and agent events; one partition, so totally ordered."""
        return f"{self.prefix}.executions.{pool}"

    def output(self, pool: str) -> str:
        """Raw bytes of stdin, stdout and stderr; several partitions."""
        return f"{self.prefix}.output.{pool}"

    def heartbeats(self, pool: str) -> str:
        """Soft state of the pool's agents; kept an hour."""
        return f"{self.prefix}.heartbeats.{pool}"


async def ensure_topics(settings: Settings, pool: str) -> None:
    """Create the registry's and the pool's topics if they are missing. Idempotent."""
    topics = Topics(settings.topic_prefix)
    # Written out, so that no default of a cluster shortens the log.
    common = {
        "min.insync.replicas": str(settings.min_insync_replicas),
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
    }
    # On a single node nothing else makes an accepted event durable; a cluster has replicas.
    durable = {**common, "flush.messages": "1"} if settings.replication == 1 else common
    wanted = [
        _topic(topics.registry, 1, settings, durable),
        _topic(topics.executions(pool), 1, settings, durable),
        _topic(topics.output(pool), settings.output_partitions, settings, common),
        _topic(topics.heartbeats(pool), 1, settings, {**common, "retention.ms": str(HOUR_MS)}),
    ]
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap, **CLIENT)
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted if topic.name not in existing]
        if not missing:
            return
        response = await admin.create_topics(missing)
        for error in response.topic_errors:
            code = error[1]
            if code and not issubclass(for_code(code), TopicAlreadyExistsError):
                raise for_code(code)(f"{error[0]}: {error[2] if len(error) > 2 else ''}")
        await _seen(admin, {topic.name for topic in wanted})
    finally:
        await admin.close()


async def _seen(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """A created topic is seen a moment later; who starts right after must find it."""
    async with asyncio.timeout(10.0):
        while not names <= set(await admin.list_topics()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def _topic(name: str, partitions: int, settings: Settings, config: dict[str, str]) -> NewTopic:
    return NewTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=settings.replication,
        topic_configs={
            **config,
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MAX_RECORD_BYTES),
        },
    )
