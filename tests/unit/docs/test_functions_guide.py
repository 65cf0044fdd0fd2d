"""The examples of docs/functions.md are what the text says of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hermes.domain.resources import Limits
from hermes.packages.config import parse_config
from hermes.packages.ignore import read_ignore

GUIDE = (Path(__file__).parents[3] / "docs" / "functions.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.M | re.S)
    assert found
    return found


def test_every_config_is_valid_and_the_last_has_every_field() -> None:
    small, full = (parse_config(text.encode()) for text in examples("json"))
    assert (small.gpu_capable, small.scope, small.limits, small.gpu) == (
        False,
        "private",
        None,
        None,
    )
    for part in (full.limits, full.gpu):
        assert part is not None
        assert all(getattr(part, name) is not None for name in part.__struct_fields__)


def test_the_function_by_hand_builds_and_greets(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(examples("makefile")[0])
    (tmp_path / "main.cpp").write_text(examples("cpp")[0])
    for command in (["make", "clean"], ["make"]):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60, capture_output=True)
    handler = parse_config(examples("json")[0].encode()).handler_path
    run = subprocess.run(
        [tmp_path / handler], input=b"you\n", capture_output=True, timeout=10, check=True
    )
    assert run.stdout == b"Hello you\n"


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        ("main.cpp", False),
        ("deep/part.o", True),
        ("a.out", True),
        ("data/", True),
        ("deep/data/", False),
        ("build/", True),
        (".git/", True),
    ],
)
def test_the_ignore_file_leaves_out_what_the_text_says(path: str, stays: bool) -> None:
    assert read_ignore(examples("gitignore")[0].encode())(path) is stays


def test_a_file_is_taken_back_where_its_folder_was_not_left_out() -> None:
    ignored = read_ignore(examples("gitignore")[0].replace("/data/\n", "/data/*\n", 1).encode())
    assert ignored("data/large.bin")
    assert not ignored("data/small.txt")
    assert not ignored("data/")


def test_the_defaults_of_the_table_are_those_of_the_server() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [a-z]+ \| [^|]+ \| ([^|]+) \|$", GUIDE, re.M))
    units = {"": 1, "GiB": 1 << 30, "MiB": 1 << 20}
    told = {}
    for name, text in rows.items():
        number, _, unit = text.strip().partition(" ")
        told[name] = float(number) * units[unit]
    defaults = Limits()
    assert told == {name: float(getattr(defaults, name)) for name in defaults.__struct_fields__}
