"""How long the `hermes` command takes to start, and `hermes run` to its first byte.

    python -m tests.bench.cli_start [RUNS]

`run` speaks to a FakeApi, so its number is the client's share: start, request, first byte.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from tests.support.fake_api import FakeApi
from tests.support.fake_executions import Script

HERMES = [sys.executable, "-m", "cli"]
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "hermes --version": [*HERMES, "--version"],
    "hermes --help": [*HERMES, "--help"],
    "hermes execution list": [*HERMES, "execution", "list"],
    "hermes run: first byte": [*HERMES, "run", "ana/echo", "--input", "x"],
}


def first_byte(command: list[str], env: dict[str, str]) -> float:
    """Seconds from the start of the process to its first byte on stdout, or to its end."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        taken = time.perf_counter() - begun
        process.stdout.read()
    return taken


def main() -> None:
    """Print the median and the slowest of RUNS runs, in milliseconds."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with FakeApi() as api:
        api.script = Script(output=[("stdout", b"x", 0.0)])
        env = {**os.environ, "HERMES_URL": api.url, "HERMES_TOKEN": "token-of-ana"}
        for name, command in CASES.items():
            taken = [first_byte(command, env) * 1000 for _ in range(runs)]
            print(f"{name:<24} p50 {statistics.median(taken):6.1f} ms   max {max(taken):6.1f} ms")


if __name__ == "__main__":
    main()
