"""Attacks by a GPU are at least programs: they compile wherever CUDA's compiler is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "gpu" / "gpu.cu"
IMAGE = "hermes-toolchain/cuda:latest"


def compiler() -> list[str]:
    """nvcc of this host, or the one in the toolchain's image."""
    if nvcc := shutil.which("nvcc"):
        return [nvcc]
    if shutil.which("docker"):
        looked = subprocess.run(
            ["docker", "image", "inspect", IMAGE], check=False, capture_output=True
        )
        if looked.returncode == 0:
            shown = f"{SOURCE.parent}:{SOURCE.parent}:ro"
            return ["docker", "run", "--rm", "--network=none", "-v", shown, IMAGE, "nvcc"]
    pytest.skip("no CUDA compiler here: the GPU attacks (hog, hang, outside, residue) are not even"
                " compiled")  # fmt: skip


def test_the_gpu_attacks_compile() -> None:
    command = [*compiler(), "-ptx", "-o", "/dev/null", str(SOURCE)]
    compiled = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert compiled.returncode == 0, compiled.stderr
