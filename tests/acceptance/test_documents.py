"""What the documents say is done as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from hermes.settings import _VARIABLES
from tests.acceptance.rest import Rest
from tests.support.system import HERMES, PASSWORD, ROOT, System
from tests.support.terminal import Terminal

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BIN = HERMES.parent
CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str = "sh") -> list[str]:
    """The fenced blocks of one language, in order."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def commands(page: Path) -> set[str]:
    """Whatever is written as a command of ours, in blocks and in running text."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.M | re.S)
    lines = [line for block in fenced for line in block.splitlines()]
    lines += [line[4:] for line in text.splitlines() if line.startswith("    hermes ")]
    found = {match for line in lines for match in re.findall(r"(?:^|[|(] ?)hermes [^|)#]+", line)}
    found |= set(re.findall(r"`(hermes [^`]+)`", text))
    return {command.lstrip("|( ").strip() for command in found}


@cache
def help_of(words: tuple[str, ...]) -> str:
    """What `--help` shows; empty for what is no command."""
    done = subprocess.run(
        [str(HERMES), *words, "--help"],
        capture_output=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        check=False,
    )
    return done.stdout.decode() if done.returncode == 0 else ""


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


def test_the_documents_hold_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_is_written_down_exists_with_its_flags(command: str) -> None:
    words = shlex.split(command.replace("[", "").replace("]", "").replace("…", ""))[1:]
    plain = [word for word in words if not word.startswith("-")]
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    # The longest beginning that is a command; what follows it are its arguments.
    shown = help_of(tuple(plain[:2])) if len(plain) > 1 else ""
    shown = shown or help_of(tuple(plain[:1]))
    assert shown, command
    for flag in flags:
        assert flag in shown, (command, flag)


def test_the_first_function_of_the_readme_takes_what_the_readme_says(tmp_path: Path) -> None:
    block = next(b for b in blocks(ROOT / "README.md") if "hermes up --detach" in b)
    script = tmp_path / "script"
    script.write_text(block.replace("source .venv/bin/activate\n", ""))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HERMES_", "XDG_"))}
    environment = {
        **kept,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": CACHE,
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    tmp_path.chmod(0o755)
    terminal = Terminal(["bash", "-e", str(script)], environment, tmp_path)
    try:
        for _ in range(2):
            terminal.expect("assword", timeout=180)
            terminal.type(f"{PASSWORD}\n")
        code = terminal.end(timeout=240)
    finally:
        subprocess.run([str(HERMES), "down"], env=environment, check=False, capture_output=True)
    shown = terminal.shown.decode(errors="replace")
    assert code == 0, shown
    assert "Logged in as alice" in shown
    assert "alice/hello:1.0.0" in shown
    # Live, tailed, and replayed.
    assert shown.count("the longest has 5 bytes") == 3, shown
    assert "hermes.executions.default" in shown
    assert "Stopped" in shown


def test_the_session_of_the_rest_page_runs_as_it_stands_there(
    system: System, nobody: Rest, tmp_path: Path
) -> None:
    curl = subprocess.run(["curl", "--help", "all"], capture_output=True, check=False)
    if b"--json" not in curl.stdout:
        pytest.skip("curl is missing here, or older than 7.82")
    script = "set -euo pipefail\n" + "".join(blocks(ROOT / "docs" / "rest.md"))
    environment = {
        **os.environ,
        "HERMES_URL": system.url,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-x"],
        input=script.encode(),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert b"event: end" in done.stdout
    assert b'"status":"finished"' in done.stdout


def test_every_route_is_on_the_rest_page(nobody: Rest) -> None:
    page = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8")
    for path in nobody.get("/openapi.json").json(200)["paths"]:
        short = path.removeprefix("/v1").replace("{stream}", "{stdout\\|stderr}")
        assert short in page, path


def test_every_setting_is_on_the_operators_page() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    settings = page.partition("\n## Settings\n")[2].partition("\n## ")[0]
    table = set(re.findall(r"^\| `(HERMES_[A-Z_]+)`", settings, re.M))
    assert table == {*_VARIABLES.values(), "HERMES_HOME"}


def test_every_kind_of_event_is_on_its_page() -> None:
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    samples = sorted((ROOT / "tests" / "unit" / "domain" / "samples").glob("*.json"))
    assert samples
    for sample in samples:
        kind = ".".join(sample.name.split(".")[:2])
        assert f"`{kind}`" in page, kind
