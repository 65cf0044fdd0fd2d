"""A whole Hermes for tests: `hermes up` in a folder of its own, and users of the real CLI."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil

ROOT = Path(__file__).resolve().parents[2]
HERMES = Path(sys.executable).with_name("hermes")
PASSWORD = "correct horse battery staple"
UP_TIMEOUT = 120.0


class Reachable(Protocol):
    """What users need to know of a Hermes."""

    environment: dict[str, str]
    url: str


class User:
    """A user with a client file of their own."""

    def __init__(self, system: Reachable, name: str, folder: Path) -> None:
        self.name = name
        self.environment = {
            **system.environment,
            "XDG_CONFIG_HOME": str(folder),
            "HERMES_URL": system.url,
        }

    def hermes(
        self, *words: str, stdin: bytes = b"", timeout: float = 120.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end."""
        return subprocess.run(
            [str(HERMES), *words],
            input=stdin,
            capture_output=True,
            env=self.environment,
            cwd=ROOT,
            timeout=timeout,
            check=False,
        )

    def ok(self, *words: str, stdin: bytes = b"", timeout: float = 120.0) -> bytes:
        """Run a command that must succeed; its standard output."""
        done = self.hermes(*words, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def json(self, *words: str, stdin: bytes = b"") -> Any:
        """Run a reading command with --json; what it printed."""
        return json.loads(self.ok(*words, "--json", stdin=stdin))

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            [str(HERMES), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            cwd=ROOT,
        )

    @property
    def token(self) -> str:
        """The bearer token that the client file holds."""
        path = Path(self.environment["XDG_CONFIG_HOME"]) / "hermes" / "config.json"
        found = _strings(json.loads(path.read_text()))
        return next(text for text in found if text.startswith("hms_"))


class System:
    """`start()`, use `url` and `user()`, `stop()`, which also checks that nothing is left over."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hermes-test-"))
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HERMES_")}
        self.environment = {
            **kept,
            "HERMES_HOME": str(self.home),
            # Tests of containers ask for them; all others must not depend on an engine.
            "HERMES_SANDBOX": os.environ.get("HERMES_TEST_SANDBOX", "bubblewrap"),
            **(environment or {}),
        }
        self.url = ""
        self._users: dict[str, User] = {}

    def start(self) -> None:
        """`hermes up --detach`, which returns when everything serves."""
        done = self.run("up", "--detach", "--json", timeout=UP_TIMEOUT)
        assert done.returncode == 0, (done.stdout, done.stderr)
        self.url = json.loads(done.stdout)["url"]

    def run(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[bytes]:
        """Run a command as the operator, who is nobody's user."""
        environment = {**self.environment, "XDG_CONFIG_HOME": str(self.folder / "operator")}
        return subprocess.run(
            [str(HERMES), *words],
            capture_output=True,
            env=environment,
            cwd=ROOT,
            timeout=timeout,
            check=False,
        )

    def user(self, name: str) -> User:
        """The user of this name, registered on first use. The very first is the admin."""
        if name not in self._users:
            user = User(self, name, self.folder / "config" / name)
            user.ok("remote", "register", name, "--password-stdin", stdin=PASSWORD.encode())
            self._users[name] = user
        return self._users[name]

    def pids(self) -> dict[str, int]:
        """Process ids by role."""
        status = json.loads(self.run("status", "--json").stdout)
        return {role["name"]: role["pid"] for role in status["roles"] if role["pid"]}

    def kill(self, role: str) -> int:
        """kill -9 a role; the pid that it had."""
        pid = self.pids()[role]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Until every role serves again."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            done = self.run("status", "--json")
            if done.returncode == 0 and json.loads(done.stdout)["ready"]:
                return
            time.sleep(0.2)
        raise AssertionError(f"not ready after {timeout} s: {done.stdout!r}")

    def stop(self) -> None:
        """`hermes down`; nothing that belongs to this folder may live afterwards."""
        try:
            done = self.run("down")
            assert done.returncode == 0, (done.stdout, done.stderr)
            assert self.leftovers() == []
        finally:
            for process in self.leftovers():
                process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    def leftovers(self) -> list[psutil.Process]:
        """Processes that name this folder in their environment or command line."""
        found = []
        for process in psutil.process_iter():
            try:
                named = [*process.cmdline(), *process.environ().values()]
            except psutil.Error:
                continue
            if process.pid != os.getpid() and any(str(self.folder) in text for text in named):
                found.append(process)
        return found

    def logs(self) -> str:
        """The end of every role's log, for a failing test."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}"
            for path in sorted((self.home / "logs").glob("*.log"))
        )


@contextlib.contextmanager
def running_system(environment: Mapping[str, str] | None = None) -> Iterator[System]:
    """A whole Hermes with these settings, stopped with the context however that ends."""
    system = System(environment)
    try:
        system.start()
        yield system
    finally:
        system.stop()


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []
