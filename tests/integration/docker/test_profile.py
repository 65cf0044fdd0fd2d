"""A live container is what sandbox profiles ask for: every field, read back from the engine."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from infra.sandbox.docker import profile, seccomp_profile
from infra.sandbox.parts import folder_sizes
from infra.sandbox.port import MIB, SandboxSpec
from tests.support.containers import containers_of
from tests.support.sandboxes import Runner


class Live(msgspec.Struct):
    spec: SandboxSpec
    seen: dict[str, Any]
    groups: dict[str, str]

    @property
    def host(self) -> dict[str, Any]:
        host: dict[str, Any] = self.seen["HostConfig"]
        return host


def _group_files(pid: int) -> dict[str, str]:
    """Of a process's control groups of version 1, or its one of version 2: what they limit."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            folder = Path("/sys/fs/cgroup", controller, path.lstrip("/"))
            for name in ("pids.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
                         "memory.swappiness", "cpu.cfs_quota_us", "memory.max", "cpu.max",
                         "memory.kmem.tcp.limit_in_bytes"):  # fmt: skip
                if (folder / name).exists() and controller != "systemd":
                    found[name] = (folder / name).read_text().strip()
    return found


@pytest_asyncio.fixture(params=["run", "build"], scope="module")
async def live(request: pytest.FixtureRequest, runner: Runner) -> AsyncIterator[Live]:
    stdin = os.open(os.devnull, os.O_RDONLY)
    spec = runner.spec("/bin/true", kind=request.param, stdin=stdin, function="ann/echo:1")
    prepared = await runner.sandbox.prepare(spec)
    found = await containers_of(runner.sandbox._owner)  # type: ignore[attr-defined]
    seen = found[f"hermes-{spec.name}"]
    yield Live(spec, seen, _group_files(seen["State"]["Pid"]))
    await prepared.close()
    os.close(stdin)


def test_it_runs_as_a_user_of_its_own_in_an_image_of_ours(live: Live) -> None:
    config = live.seen["Config"]
    user, _, own_group = config["User"].partition(":")
    assert user == own_group
    assert int(user) >= 210_001
    assert config["Entrypoint"] == [profile.GUARD]
    assert config["Cmd"][-2:] == ["--", "/bin/true"]
    assert config["Labels"]["hermes.owner"].startswith("docker-")
    assert config["Labels"]["hermes.name"] == live.spec.name
    assert config["Labels"]["hermes.function"] == "ann/echo:1"
    assert "NVIDIA_VISIBLE_DEVICES=void" in config["Env"]
    assert not config["Tty"] and not config["OpenStdin"]
    assert live.seen["State"]["Running"]


def test_it_has_no_network_and_no_namespace_of_the_hosts(live: Live) -> None:
    assert live.seen["Config"]["NetworkDisabled"]
    assert live.host["NetworkMode"] == "none"
    assert live.seen["NetworkSettings"]["Networks"] == {} or not any(
        network["IPAddress"] for network in live.seen["NetworkSettings"]["Networks"].values()
    )
    assert live.host["PidMode"] == ""
    assert live.host["UTSMode"] == ""
    assert live.host["IpcMode"] == "private"
    assert live.host["CgroupnsMode"] == "private"
    assert live.host["UsernsMode"] == ""


def test_it_has_no_privileges(live: Live) -> None:
    assert live.host["Privileged"] is False
    assert live.host["CapDrop"] == ["ALL"]
    assert not live.host["CapAdd"]
    assert live.host["GroupAdd"] is None
    assert live.host["SecurityOpt"] == [
        "no-new-privileges:true",
        f"seccomp={seccomp_profile.profile()}",
    ]
    refused = {
        name
        for rule in json.loads(seccomp_profile.profile())["syscalls"]
        for name in rule["names"]
        if rule["action"] == "SCMP_ACT_ERRNO"
    }
    assert {"mount", "ptrace", "bpf", "unshare", "setns", "keyctl", "io_uring_setup"} <= refused
    assert not live.host["Devices"]
    assert not live.host["DeviceRequests"]
    assert not live.host["DeviceCgroupRules"]
    assert live.host["OomScoreAdj"] == 900


def test_what_it_uses_is_bounded(live: Live) -> None:
    limits = live.spec.limits
    assert live.host["Memory"] == live.host["MemorySwap"] == limits.memory
    assert live.host["MemorySwappiness"] in {0, None}
    assert live.host["NanoCpus"] == int(limits.cpus * 1e9)
    assert live.host["PidsLimit"] == limits.processes + profile.OURS
    assert live.host["OomKillDisable"] is False
    ulimits = {one["Name"]: one["Hard"] for one in live.host["Ulimits"]}
    assert ulimits == {
        "core": 0,
        "fsize": limits.file_bytes,
        "nofile": 1024,
        "msgqueue": 0,
        "sigpending": 4096,
    }
    assert all(one["Soft"] == one["Hard"] for one in live.host["Ulimits"])
    if "memory.max" in live.groups:
        assert live.groups["memory.max"] == str(limits.memory)
    else:
        assert live.groups["memory.limit_in_bytes"] == str(limits.memory)
        assert live.groups["memory.memsw.limit_in_bytes"] == str(limits.memory)
        assert live.groups["memory.swappiness"] == "0"
        assert live.groups["cpu.cfs_quota_us"] == str(int(limits.cpus * 100_000))
        assert int(live.groups["memory.kmem.tcp.limit_in_bytes"]) <= 16 * MIB
    assert live.groups["pids.max"] == str(limits.processes + profile.OURS)


def test_it_writes_into_bounded_memory_only(live: Live) -> None:
    assert live.host["ReadonlyRootfs"] is True
    sizes = folder_sizes(live.spec)
    assert live.host["ShmSize"] == sizes["shm"]
    user = live.seen["Config"]["User"].partition(":")[0]
    tmp = "exec" if live.spec.kind == "build" else "noexec"
    rest = f"nr_inodes={live.spec.limits.work_files + 1},mode=0700,uid={user},gid={user}"
    assert live.host["Tmpfs"] == {
        "/work": f"rw,nosuid,nodev,exec,size={sizes['work']},{rest}",
        "/tmp": f"rw,nosuid,nodev,{tmp},size={sizes['tmp']},{rest}",
        "/dev/shm": f"rw,nosuid,nodev,noexec,size={sizes['shm']},{rest}",
    }
    assert not live.host["Binds"]
    assert not live.host["VolumesFrom"]
    mounts = {mount["Target"]: mount for mount in live.host["Mounts"]}
    assert all(mount["Type"] == "bind" and mount["ReadOnly"] for mount in mounts.values())
    shown = {"/.hermes/guard", "/.hermes/channel", "/etc/passwd", "/etc/group", "/etc/hostname"}
    assert mounts.keys() == shown | ({"/fn"} if live.spec.kind == "run" else set())
    assert not any("docker.sock" in mount["Source"] for mount in mounts.values())


def test_what_tells_of_the_host_is_covered(live: Live) -> None:
    by_the_engine = {"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                     "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                     "/proc/scsi", "/proc/asound"}  # fmt: skip
    assert by_the_engine | {"/proc/kallsyms", "/proc/key-users", "/sys"} <= set(
        live.host["MaskedPaths"]
    )
    assert set(live.host["ReadonlyPaths"]) == {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"}


def test_nothing_of_it_stays_and_nothing_is_logged(live: Live) -> None:
    assert live.host["AutoRemove"] is True
    assert live.host["RestartPolicy"]["Name"] == "no"
    assert live.host["LogConfig"] == {"Type": "none", "Config": {}}
    assert live.host["Init"] is False
    assert live.host["CgroupParent"] in {
        "",
        f"/hermes/{live.seen['Config']['Labels']['hermes.owner']}",
    }


async def test_few_processes_are_few_although_the_runtime_needs_more_to_start(
    runner: Runner,
) -> None:
    outcome = await runner.run("hog", "processes", limits={"processes": 4})
    assert int(outcome.steps["processes"].split()[0]) <= 4
