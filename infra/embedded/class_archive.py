"""The JVM's archive of Kafka's classes, made once per machine: loaded, linked and profiled ahead.

With it the node starts in half the time.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from infra.embedded.errors import EmbeddedFault
from infra.embedded.jars import Report, cache_lock, ensure_jars, jar_paths
from infra.embedded.jvm import archive_path
from infra.embedded.kafka import KafkaNode
from infra.embedded.ports import free_ports
from infra.embedded.spawn import PLAIN_ENVIRONMENT, spawn

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 120.0


def ensure_class_archive(report: Report = lambda line: None) -> None:
    """Fetch the jars and make the archive, what is missing of it: a throw-away node runs for 10 s.

    Raises JarsUnavailable. Kafka also runs without an archive, so that it cannot be made is only
    reported.
    """
    if all(jar.exists() for jar in jar_paths()) and archive_path(jar_paths()).exists():
        return
    archive = archive_path(ensure_jars(report))
    with cache_lock(archive.parent):
        if archive.exists():  # whoever held the lock before us made it
            return
        report("Preparing Apache Kafka for fast starts, once on this machine")
        folder = archive.parent / ".training"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            new = _train(folder)
            for old in archive.parent.glob("kafka-*.aot"):
                old.unlink(missing_ok=True)
            new.replace(archive)
        except (EmbeddedFault, OSError) as error:
            report(f"Apache Kafka will start slower, without a class archive: {error}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _train(folder: Path) -> Path:
    port, controller_port = free_ports(2)
    node = KafkaNode(folder=folder / "kafka", port=port, controller_port=controller_port)
    node.prepare()
    new, log = folder / "kafka.aot", folder / "kafka.log"
    argv = node.command(f"-XX:AOTCacheOutput={new}")
    process = spawn(argv, log=log, env=PLAIN_ENVIRONMENT, cwd=node.folder)
    try:
        deadline = time.monotonic() + _START_TIMEOUT
        while not node.is_ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        # The JVM writes the archive on its way out.
        process.terminate()
        process.wait(_STOP_TIMEOUT)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if not new.exists():
        tail = log.read_text(errors="replace")[-2000:]
        raise EmbeddedFault(f"Apache Kafka's class archive could not be made:\n{tail}")
    return new
