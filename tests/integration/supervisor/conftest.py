"""A supervisor over tiny real processes; Kafka and PostgreSQL stand outside, so it starts fast."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.supervisor.control import stop
from infra.supervisor.plan import UpOptions

PROGRAMS = {
    "steady": "report_ready()\nsignal.pause()\n",
    "polite": "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nreport_ready()\n"
    "signal.pause()\n",
    "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nreport_ready()\n"
    "while True:\n    signal.pause()\n",
    "broken": "print('no such thing as a licence', file=sys.stderr)\nsys.exit(3)\n",
    "talkative": "report_ready()\nwhile True:\n    print('x' * 1000, file=sys.stderr)\n"
    "    time.sleep(0.0001)\n",
    "environment": "(Path(os.environ['HERMES_HOME']) / 'environment').write_text(\n"
    "    ''.join(f'{k}={v}\\n' for k, v in os.environ.items()))\nreport_ready()\nsignal.pause()\n",
}
_HEAD = """import os, signal, sys, time
from pathlib import Path
from hermes.readiness import report_ready
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of role modules, importable by every role."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, body in PROGRAMS.items():
        (folder / f"{name}.py").write_text(_HEAD + body)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("HERMES_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("HERMES_DATABASE", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.delenv("HERMES_PORT", raising=False)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A data folder on which nothing runs afterwards."""
    folder = tmp_path / "home"
    yield folder
    stop(folder)


def options(home: Path, *names: str, **flags: object) -> UpOptions:
    """Options for a Hermes whose roles are these programs."""
    return UpOptions(home=home, modules={name: name for name in names}, **flags)  # type: ignore[arg-type]


def processes_of(home: Path) -> set[int]:
    """Every process that still has to do with this home, by its environment."""
    found = set()
    needle = f"HERMES_HOME={home}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if needle in environ.read_bytes().split(b"\0"):
                found.add(int(environ.parts[2]))
        except OSError:
            continue
    return found - {os.getpid()}
