"""The `hermes` command as a process, against a FakeApi."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_api import FakeApi

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "cli"]


@dataclass(frozen=True)
class Result:
    """How one command ended."""

    code: int
    stdout: bytes
    error_bytes: bytes

    @property
    def stderr(self) -> str:
        return self.error_bytes.decode()

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def problem(self) -> Any:
        return json.loads(self.stderr.splitlines()[-1])


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def environment(api: FakeApi, tmp_path: Path) -> dict[str, str]:
    """An empty home, ana's token, and the fake's URL."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONPATH": str(ROOT),
        "HERMES_URL": api.url,
        "HERMES_TOKEN": "token-of-ana",
        "TZ": "UTC",
    }


Hermes = Callable[..., Result]


@pytest.fixture
def hermes(environment: dict[str, str], tmp_path: Path) -> Hermes:
    """Run `hermes ARGUMENTS` to its end."""

    def run(
        *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None, timeout: float = 30
    ) -> Result:
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            env={**environment, **(env or {})},
            cwd=tmp_path,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run
