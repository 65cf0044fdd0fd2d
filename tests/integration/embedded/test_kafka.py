"""The embedded broker: starts, kills, data that stays."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.embedded.class_archive import ensure_class_archive
from infra.embedded.kafka import KafkaNode
from infra.embedded.ports import free_ports
from infra.embedded.spawn import PLAIN_ENVIRONMENT, spawn


@pytest.fixture
def node(tmp_path: Path) -> KafkaNode:
    ensure_class_archive()
    port, controller_port = free_ports(2)
    folder = tmp_path / "kafka, with = and \\ in its näme"
    return KafkaNode(folder=folder, port=port, controller_port=controller_port)


@contextmanager
def running(node: KafkaNode, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    node.prepare()
    process = spawn(node.command(), log=log, env=PLAIN_ENVIRONMENT, cwd=node.folder)
    try:
        deadline = time.monotonic() + 30
        while not node.is_ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def topic(node: KafkaNode, name: str) -> AsyncIterator[AIOKafkaProducer]:
    admin = AIOKafkaAdminClient(bootstrap_servers=node.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"flush.messages": "1"})])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=node.bootstrap, acks="all") as producer:
        yield producer


async def test_what_was_acknowledged_is_there_after_a_kill_9(
    node: KafkaNode, tmp_path: Path
) -> None:
    log = tmp_path / "kafka.log"
    with running(node, log) as process:
        async with topic(node, "facts") as producer:
            for number in range(100):
                await producer.send_and_wait("facts", b"%d" % number)
            process.kill()
            process.wait()
    started = time.monotonic()
    with running(node, log):
        assert time.monotonic() - started < 10
        async with AIOKafkaConsumer(
            "facts", bootstrap_servers=node.bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            values = [(await consumer.getone()).value for _ in range(100)]
    assert values == [b"%d" % number for number in range(100)]


async def test_topics_are_not_created_by_using_them(node: KafkaNode, tmp_path: Path) -> None:
    with running(node, tmp_path / "kafka.log"):
        admin = AIOKafkaAdminClient(bootstrap_servers=node.bootstrap)
        await admin.start()
        await admin.describe_topics(["nobody-made-this"])
        assert "nobody-made-this" not in await admin.list_topics()
        await admin.close()


def test_a_format_that_was_cut_off_is_done_again(node: KafkaNode, tmp_path: Path) -> None:
    half = node.folder / "data.new"
    half.mkdir(parents=True)
    (half / "meta.properties").write_text("version=1\n")
    with running(node, tmp_path / "kafka.log"):
        assert not half.exists()


def test_all_listeners_are_on_loopback(node: KafkaNode, tmp_path: Path) -> None:
    with running(node, tmp_path / "kafka.log"):
        for port in (node.port, node.controller_port):
            # Bound to every address, this would be refused.
            with socket.create_server(("127.0.0.2", port)):
                pass


def test_the_log_of_a_start_and_an_end_is_short(node: KafkaNode, tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    with running(node, log) as process:
        process.terminate()
        process.wait(20)
    assert "Kafka Server started" in log.read_text()
    assert len(log.read_text().splitlines()) < 10
