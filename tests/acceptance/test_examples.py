"""Every example function's cases, through the real command line, on a whole Hermes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.function_cases import Case, load_cases
from tests.support.system import ROOT, System, User

FOLDERS = sorted((ROOT / "examples" / "functions").iterdir()) + sorted(
    (ROOT / "examples" / "legacy").iterdir()
)
HAS_GPU = bool(list(Path("/dev").glob("nvidia[0-9]*")))
CASES = [
    pytest.param(folder, case, id=f"{folder.name}: {case.name}")
    for folder in FOLDERS
    for case in load_cases(folder / "test.yml")
    if case.runs_here(has_gpu=HAS_GPU)
]


@pytest.fixture(scope="session")
def author(system: System) -> User:
    return system.user("author")


@pytest.fixture(scope="session")
def deployed(author: User) -> set[str]:
    return set()


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_an_example_does_what_its_case_says(
    folder: Path, case: Case, author: User, deployed: set[str]
) -> None:
    is_cuda = "nvcc" in (folder / "Makefile").read_text()
    if folder.name not in deployed:
        if is_cuda and not _has_cuda(author):
            fixed = author.hermes("doctor", "--fix", "cuda", timeout=300)
            if fixed.returncode != 0:
                pytest.skip(f"no nvcc here, and none to be had: {fixed.stderr.decode()}")
        author.ok("function", "deploy", str(folder))
        deployed.add(folder.name)
    name = author.json("function", "list")
    ref = next(
        f["id"] for f in name if f["name"].replace("_", "-") in folder.name.replace("_", "-")
    )
    started = time.monotonic()
    # Without a GPU a CUDA function is rejected, unless it is told to do without.
    flags = ["--no-gpu"] if is_cuda and not HAS_GPU else []
    done = author.hermes("run", ref, *flags, stdin=case.input)
    problems = case.expect.problems(
        done.stdout, done.stderr, done.returncode, time.monotonic() - started
    )
    assert not problems, problems


def _has_cuda(author: User) -> bool:
    checks = author.json("doctor")
    return any(check["name"] == "nvcc" and check["ok"] for check in checks)
