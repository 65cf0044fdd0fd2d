"""Loads queries.sql: named, described statements."""

from __future__ import annotations

import importlib.resources
import re

_HEAD = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


def load_queries(package: str = "projections", file: str = "queries.sql") -> dict[str, str]:
    """The statements of a file by name. Raises ValueError for a name given twice."""
    text = importlib.resources.files(package).joinpath(file).read_text("utf-8")
    found: dict[str, str] = {}
    parts = _HEAD.split(text)[1:]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in found:
            raise ValueError(f"{file} has two queries named {name}")
        found[name] = body.strip().removesuffix(";")
    return found
