"""The parts of a container's profile that depend on GPUs and on the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.sandbox.docker.profile import Host, Shown, container_config
from infra.sandbox.port import MIB, SandboxLimits, SandboxSpec

SPEC = SandboxSpec(
    name="e-1",
    argv=("/fn/main", "word"),
    kind="run",
    function_dir=Path("/functions/one"),
    stdin=0,
    limits=SandboxLimits(time=1, memory=256 * MIB, cpus=1.5, output=MIB, processes=64),
    env={"GIVEN": "a=b"},
)
HOST = Host(cpus=4, cgroup_version=1, cgroup_parent="/hermes/me", runtime=None)
UUID = "GPU-11111111-2222-3333-4444-555555555555"


def config(host: Host = HOST, function: Path | None = Path("/f"), **fields: Any) -> dict[str, Any]:
    shown = Shown(guard=Path("/g"), channel=Path("/c"), etc=(), function=function)
    spec = msgspec.structs.replace(SPEC, **fields)
    return container_config(spec, image="i", user=210_001, labels={}, shown=shown, host=host)


def test_the_program_is_told_of_its_own_variables_and_no_others() -> None:
    words = config()["Cmd"]
    separator = words.index("--")
    assert words[0] == "/.hermes/channel/socket"
    assert {word.split("=")[0] for word in words[1:separator]} == {
        "PATH", "HOME", "LANG", "TMPDIR", "USER", "PWD", "GIVEN",
    }  # fmt: skip
    assert "GIVEN=a=b" in words
    assert words[separator + 1 :] == ["/fn/main", "word"]


def test_a_gpu_is_asked_for_by_its_uuid() -> None:
    asked = config(gpus=(UUID,), gpu_devices=("/dev/nvidia0",))
    assert asked["HostConfig"]["DeviceRequests"] == [
        {
            "Driver": "nvidia",
            "DeviceIDs": [UUID],
            "Capabilities": [["gpu", "compute", "utility"]],
        }
    ]
    assert asked["HostConfig"]["Devices"] == []
    assert asked["Env"] == []
    assert "/sys" not in asked["HostConfig"]["MaskedPaths"]
    assert {"/sys/fs", "/sys/firmware"} <= set(asked["HostConfig"]["MaskedPaths"])


def test_the_engines_ways_are_respected() -> None:
    by_files = config()["HostConfig"]
    assert by_files["CgroupParent"] == "/hermes/me"
    assert by_files["MemorySwappiness"] == 0
    assert "Runtime" not in by_files
    other = Host(cpus=1, cgroup_version=2, cgroup_parent=None, runtime="runsc")
    by_systemd = config(other)["HostConfig"]
    assert "CgroupParent" not in by_systemd
    assert "MemorySwappiness" not in by_systemd, "version 2 has none"
    assert by_systemd["Runtime"] == "runsc"
    assert by_systemd["NanoCpus"] == 1_000_000_000, "engines refuse more than there are"


@pytest.mark.parametrize(("kind", "function"), [("build", Path("/f")), ("run", None)])
def test_a_function_that_is_copied_or_packaged_is_not_shown(
    kind: str, function: Path | None
) -> None:
    mounts = config(function=function, kind=kind)["HostConfig"]["Mounts"]
    assert "/fn" not in {mount["Target"] for mount in mounts}
