"""A container gets the GPUs of its lease by UUID, in the engine's own way, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.sandbox.docker.profile import Host, Shown, container_config
from infra.sandbox.port import MIB, SandboxLimits, SandboxSpec

GPUS = ("GPU-1", "MIG-2")
NAMES = frozenset({"nvidia.com/gpu=GPU-1", "nvidia.com/gpu=MIG-2", "nvidia.com/gpu=GPU-3"})
BY_INDEX = frozenset({"nvidia.com/gpu=0", "nvidia.com/gpu=all"})


def container(*gpus: str, cdi: frozenset[str] = frozenset()) -> dict[str, Any]:
    spec = SandboxSpec(
        name="x-1",
        argv=("/fn/a",),
        kind="run",
        function_dir=Path("/f"),
        stdin=0,
        limits=SandboxLimits(time=1, memory=256 * MIB, cpus=1, output=MIB, processes=64),
        gpus=gpus,
        gpu_devices=("/dev/nvidia0", "/dev/nvidiactl") if gpus else (),
        env={"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {},
    )
    return container_config(
        spec,
        image="sha256:1",
        user=210_001,
        labels={},
        shown=Shown(guard=Path("/g"), channel=Path("/c"), etc=(), function=None),
        host=Host(cpus=2, cgroup_version=2, cgroup_parent=None, cdi=cdi, runtime=None),
    )


@pytest.mark.parametrize("cdi", [frozenset(), BY_INDEX])
def test_nvidias_runtime_is_asked_for_these_gpus(cdi: frozenset[str]) -> None:
    made = container(*GPUS, cdi=cdi)
    assert made["Env"] == []
    assert made["HostConfig"]["DeviceRequests"] == [
        {
            "Driver": "nvidia",
            "DeviceIDs": list(GPUS),
            "Capabilities": [["gpu", "compute", "utility"]],
        }
    ]
    assert made["HostConfig"]["Devices"] == [], "the runtime brings the nodes"


def test_where_the_engine_has_cdi_it_is_asked_for_them_by_their_names_there() -> None:
    made = container(*GPUS, cdi=NAMES)
    assert made["HostConfig"]["DeviceRequests"] == [
        {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=MIG-2"]}
    ]
    assert made["Env"] == ["NVIDIA_VISIBLE_DEVICES=void"], "no hook adds what the image asks for"


@pytest.mark.parametrize("cdi", [frozenset(), NAMES])
def test_without_a_lease_there_is_no_gpu_and_an_image_cannot_ask_for_one(
    cdi: frozenset[str],
) -> None:
    made = container(cdi=cdi)
    assert made["HostConfig"]["DeviceRequests"] == []
    assert made["HostConfig"]["Devices"] == []
    assert made["Env"] == ["NVIDIA_VISIBLE_DEVICES=void"]


def test_the_program_is_told_which_gpus_are_its_own() -> None:
    assert "CUDA_VISIBLE_DEVICES=GPU-1,MIG-2" in container(*GPUS)["Cmd"]
