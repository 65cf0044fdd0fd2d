"""Every C++ example, built by plain make with the real compiler and tried on its own cases."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

import pytest

from tests.support.function_cases import Case, load_cases

EXAMPLES = Path(__file__).parents[3] / "examples"
CONFIG_FIELDS = {
    "functionName",
    "functionVersion",
    "language",
    "gpuCapable",
    "scope",
    "handler",
}


@cache
def config_of(folder: Path) -> dict[str, object]:
    config: dict[str, object] = json.loads((folder / "hermes.config.json").read_text())
    return config


FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/*/hermes.config.json"))
CPP = [folder for folder in FOLDERS if config_of(folder)["language"] == "cpp"]
CASES = [(folder, case) for folder in CPP for case in load_cases(folder / "test.yml")]


def make(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """The C++ examples, each in a copy of its folder as the server builds it, by source folder."""
    copies = {}
    for folder in CPP:
        copies[folder] = tmp_path_factory.mktemp("built") / folder.name
        shutil.copytree(folder, copies[folder], ignore=shutil.ignore_patterns("*.out"))
        make(copies[folder], "clean")
        make(copies[folder])
    return copies


def test_all_six_functions_of_the_original_are_there() -> None:
    names = {folder.name for folder in FOLDERS if folder.parent.name == "functions"}
    assert names >= {
        "char-printer",
        "reduce-sum",
        "pi-montecarlo",
        "waiter",
        "eletrification",
        "gpu-pi-montecarlo",
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_has_a_full_config_a_makefile_and_cases(folder: Path) -> None:
    config = config_of(folder)
    assert set(config) == CONFIG_FIELDS
    assert config["functionName"] == folder.name
    assert (config["functionVersion"], config["scope"]) == ("1.0.0", "public")
    assert (folder / "Makefile").is_file()
    assert load_cases(folder / "test.yml")


@pytest.mark.parametrize(
    ("folder", "case"), CASES, ids=[f"{folder.name}: {case.name}" for folder, case in CASES]
)
def test_an_example_does_what_its_cases_say(
    built: dict[Path, Path], folder: Path, case: Case
) -> None:
    handler = built[folder] / str(config_of(folder)["handler"])
    start = time.monotonic()
    run = subprocess.run([handler], input=case.input, capture_output=True, timeout=30, check=False)
    seconds = time.monotonic() - start
    assert case.expect.problems(run.stdout, run.stderr, run.returncode, seconds) == []


@pytest.mark.parametrize(
    "folder",
    [folder for folder in CPP if folder.parent.name == "functions"],
    ids=lambda folder: folder.name,
)
def test_an_example_compiles_without_a_warning(folder: Path) -> None:
    flags = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    subprocess.run(
        ["g++", *flags, "-pthread", "-fsyntax-only", "main.cpp"],
        cwd=folder,
        timeout=120,
        check=True,
    )


def test_threads_of_pi_montecarlo_do_not_race(tmp_path: Path) -> None:
    program = tmp_path / "pi"
    source = EXAMPLES / "functions" / "pi-montecarlo" / "main.cpp"
    flags = ["-std=c++17", "-O1", "-g", "-pthread", "-fsanitize=thread"]
    subprocess.run(["g++", *flags, "-o", program, source], timeout=120, check=True)
    run = subprocess.run(
        # Without address randomisation, which some kernels spread wider than the sanitizer maps.
        ["setarch", "--addr-no-randomize", program],
        input=b"20000 8",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    assert b"PI: 3." in run.stdout
