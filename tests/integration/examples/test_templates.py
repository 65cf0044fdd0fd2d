"""What `hermes function init` writes works before anybody has changed it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[3] / "cli" / "templates"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """The C++ template in a folder of its own, after the commands that Hermes runs."""
    folder = tmp_path / "function"
    shutil.copytree(TEMPLATES / "cpp", folder)
    for command in (["make", "clean"], ["make", "CXXFLAGS=-std=c++17 -Wall -Wextra -Werror"]):
        subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder


@pytest.mark.parametrize(
    ("stdin", "stdout", "exit_code"),
    [
        (b"serverless delivery for GPUs\n", b"4 words, the longest has 10 bytes\n", 0),
        (b" one\n\n", b"1 words, the longest has 3 bytes\n", 0),
        (b"", b"", 1),
    ],
)
def test_the_cpp_template_counts_words(
    built: Path, stdin: bytes, stdout: bytes, exit_code: int
) -> None:
    run = subprocess.run(
        [built / "a.out"], input=stdin, capture_output=True, timeout=10, check=False
    )
    assert (run.returncode, run.stdout) == (exit_code, stdout)


@pytest.mark.parametrize("language", ["cpp", "cuda"])
def test_a_template_keeps_what_it_builds_out_of_the_archive(language: str) -> None:
    assert "*.out" in (TEMPLATES / language / ".hermesignore").read_text().splitlines()
    assert not list((TEMPLATES / language).glob("*.out"))
