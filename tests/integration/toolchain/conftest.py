"""CUDA, really installed: fetched once per run of the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.toolchain import InstallFailed, install_cuda


@pytest.fixture(scope="session")
def cuda_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Hermes home into which the pinned CUDA toolkit was installed; removed, it has 400 MB."""
    home = tmp_path_factory.mktemp("cuda-home")
    try:
        install_cuda(home, print)
    except InstallFailed as error:
        if index_answers():
            raise
        pytest.skip(f"NOT TRIED, the Python package index cannot be reached: {error}")
    yield home
    shutil.rmtree(home)


def index_answers() -> bool:
    """Whether pip can ask its index about a package at all."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "pip"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    return asked.returncode == 0
