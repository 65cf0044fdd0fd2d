"""The command starts fast because of what it does not load; time itself is a matter of benches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_api import FakeApi
from tests.support.fake_executions import Script

HEAVY = {
    "aiohttp", "aiokafka", "asyncio", "asyncpg", "faust", "httpx", "pydantic", "requests", "rich",
    "tarfile", "urllib3", "infra", "streams", "projections",
}  # fmt: skip
PROGRAM = """
import sys
from cli.main import main
try:
    main()
except SystemExit as end:
    print(*sorted(sys.modules), file=sys.stderr)
    sys.exit(end.code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "ana/echo", "--input", "x", "--gpu-count", "2"],
        ["execution", "tail", "@last"],
        ["execution", "output", "@last"],
        ["function", "inspect", "ana/echo:1.0.0"],
        ["remote", "whoami"],
        ["config"],
        ["--version"],
    ],
)
def test_nothing_heavy_is_loaded(
    api: FakeApi, environment: dict[str, str], tmp_path: Path, arguments: list[str]
) -> None:
    api.add_function("ana/echo:1.0.0")
    api.add_execution("01890000-0000-7000-8000-00000000000a", Script())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = {module.partition(".")[0] for module in done.stderr.decode().split()}
    assert not loaded & HEAVY
    assert "typer" in loaded
