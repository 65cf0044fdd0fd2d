"""CUDA, really installed."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cuda_home(installed_cuda: Path) -> Path:
    """A Hermes home into which the pinned CUDA toolkit was installed."""
    return installed_cuda
