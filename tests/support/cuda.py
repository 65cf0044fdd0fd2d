"""CUDA, really installed, for tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.toolchain import InstallFailed, install_cuda


def install_cuda_or_skip(home: Path) -> None:
    """Install the pinned CUDA toolkit into this Hermes home; without an index, skip the test."""
    try:
        install_cuda(home, print)
    except InstallFailed as error:
        if _index_answers():
            raise
        pytest.skip(f"NOT TRIED, the Python package index cannot be reached: {error}")


def _index_answers() -> bool:
    """Whether pip can ask its index about a package at all."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "pip"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    return asked.returncode == 0
