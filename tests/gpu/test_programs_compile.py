"""The program of these tests compiles, with or without a GPU to run it on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.gpu.conftest import HAS_DRIVER


def test_the_probe_knows_what_it_is_asked(probe: Path) -> None:
    done = subprocess.run([probe], input=b"nonsense", capture_output=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == b"what is nonsense?\n"


@pytest.mark.skipif(HAS_DRIVER, reason="there is a GPU here: other tests use it")
def test_without_a_gpu_it_says_so(probe: Path) -> None:
    done = subprocess.run([probe], input=b"devices", capture_output=True, timeout=30, check=False)
    assert done.returncode == 10
    assert b"cudaGetDeviceCount: " in done.stderr
