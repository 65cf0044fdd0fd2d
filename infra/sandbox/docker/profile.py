"""The container of one program, field by field, as the engine's API takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from infra.sandbox.command import OPEN_FILES, TELLTALES, environment
from infra.sandbox.docker import seccomp_profile
from infra.sandbox.parts import folder_sizes
from infra.sandbox.port import SandboxSpec

GUARD = "/.hermes/guard"
CHANNEL = "/.hermes/channel"  # the folder that holds the socket
SOCKET = "socket"

OWNER_LABEL, NAME_LABEL, START_LABEL = "hermes.owner", "hermes.name", "hermes.start"

OURS = 1  # process 1 counts as a process too
# Before anything of the host's; the program itself has the highest, 1000.
GUARD_OOM_SCORE = 900
# runc starts a container with some ten threads inside its control group, so a smaller limit is set
# when they are gone.
FEWEST_PROCESSES = 32
_PENDING_SIGNALS = 4096
_LEAST_CPUS = 0.01  # what the engine takes
# What the engine hides by itself, and what bubblewrap's sandboxes do not show either: the rest of
# what the host's /proc tells, the hardware, and of the image what is no program.
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/scsi", "/proc/timer_stats",
    *(f"/proc/{name}" for name in TELLTALES),
    "/var", "/root", "/run",
)  # fmt: skip
_MASKED_WITHOUT_GPU = ("/sys",)
_MASKED_WITH_GPU = ("/sys/fs", "/sys/firmware")  # its driver asks /sys about the hardware
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the profile needs to know of the engine and its machine."""

    cpus: int
    cgroup_version: int
    #: The control group above the containers'; None where the engine has its own way (systemd).
    cgroup_parent: str | None
    #: The devices that the engine hands out by the Container Device Interface.
    cdi: frozenset[str] = frozenset()
    #: None: the engine's default.
    runtime: str | None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """Folders and files of this host that the container shows, all read-only."""

    guard: Path
    channel: Path
    #: Files that stand in for the image's, by their path inside.
    etc: tuple[tuple[Path, str], ...]
    #: None where the image holds the function.
    function: Path | None


def with_gpu(spec: SandboxSpec) -> bool:
    """Whether the container gets any, however it is named."""
    return bool(spec.gpus or spec.gpu_devices)


def container_config(
    spec: SandboxSpec,
    *,
    image: str,
    user: int,
    labels: dict[str, str],
    shown: Shown,
    host: Host,
) -> dict[str, Any]:
    """The body of `POST /containers/create`."""
    return {
        "Image": image,
        "User": f"{user}:{user}",
        "Hostname": "hermes",
        "Entrypoint": [GUARD],
        "Cmd": _command(spec),
        # So that a GPU runtime's hook gives none away, whatever the image says, unless it is the
        # one that is asked; the program's variables come from the guard.
        "Env": [] if _by_runtime(spec, host) else ["NVIDIA_VISIBLE_DEVICES=void"],
        "StopSignal": "SIGKILL",  # the guard is deaf to others
        "NetworkDisabled": True,  # no set-up; the namespace has nothing but its loopback
        "OpenStdin": False,
        "Tty": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Labels": labels,
        "HostConfig": _host_config(spec, user, shown, host),
    }


def _command(spec: SandboxSpec) -> list[str]:
    variables = {**environment(spec), "PWD": "/work"}
    words = [f"{name}={value}" for name, value in variables.items()]
    return [f"{CHANNEL}/{SOCKET}", *words, "--", *spec.argv]


def _host_config(spec: SandboxSpec, user: int, shown: Shown, host: Host) -> dict[str, Any]:
    limits = spec.limits
    config: dict[str, Any] = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "Privileged": False,
        "SecurityOpt": [
            "no-new-privileges:true",
            f"seccomp={seccomp_profile.profile()}",
        ],
        "PidMode": "",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "UTSMode": "",
        "Memory": limits.memory,
        "MemorySwap": limits.memory,  # as much: no swap
        "NanoCpus": int(min(max(limits.cpus, _LEAST_CPUS), host.cpus) * 1_000_000_000),
        "PidsLimit": max(limits.processes + OURS, FEWEST_PROCESSES),
        "OomScoreAdj": GUARD_OOM_SCORE,
        "OomKillDisable": False,
        "Ulimits": [
            _ulimit("core", 0),
            _ulimit("fsize", limits.file_bytes),
            _ulimit("nofile", OPEN_FILES),
            _ulimit("msgqueue", 0),
            _ulimit("sigpending", _PENDING_SIGNALS),
        ],
        "ShmSize": folder_sizes(spec)["shm"],
        "Tmpfs": _writable(spec, user),
        "Mounts": _mounts(spec, shown),
        "MaskedPaths": [
            *_MASKED,
            *(_MASKED_WITH_GPU if with_gpu(spec) else _MASKED_WITHOUT_GPU),
        ],
        "ReadonlyPaths": list(_READ_ONLY),
        "Init": False,
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no"},
        # So that nothing of it stays where the agent is not there to remove it.
        "AutoRemove": True,
        "DeviceRequests": _gpu_requests(spec, host),
        "Devices": [] if spec.gpus else [_device(path) for path in spec.gpu_devices],
    }
    if host.cgroup_version == 1:
        config["MemorySwappiness"] = 0
    if host.cgroup_parent is not None:
        config["CgroupParent"] = host.cgroup_parent
    if host.runtime is not None:
        config["Runtime"] = host.runtime
    return config


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}


def _writable(spec: SandboxSpec, user: int) -> dict[str, str]:
    """Folders in memory, bounded in bytes and files; all of them die with the container."""
    sizes = folder_sizes(spec)
    run_programs = {"work": "exec", "tmp": "exec" if spec.kind == "build" else "noexec"}
    return {
        path: ",".join(
            (
                "rw,nosuid,nodev",
                run_programs.get(name, "noexec"),
                f"size={sizes[name]}",
                f"nr_inodes={spec.limits.work_files + 1}",  # its own root folder is one
                f"mode=0700,uid={user},gid={user}",
            )
        )
        for name, path in {"work": "/work", "tmp": "/tmp", "shm": "/dev/shm"}.items()  # noqa: S108
    }


def _mounts(spec: SandboxSpec, shown: Shown) -> list[dict[str, Any]]:
    pairs = [(shown.guard, GUARD), (shown.channel, CHANNEL), *shown.etc]
    if spec.kind == "run" and shown.function is not None:
        pairs.append((shown.function, "/fn"))
    pairs += [(Path(host), inside) for host, inside in spec.extra_ro_binds]
    return [
        {"Type": "bind", "Source": str(host), "Target": inside, "ReadOnly": True}
        for host, inside in pairs
    ]


def _by_runtime(spec: SandboxSpec, host: Host) -> bool:
    """Whether the GPUs come from NVIDIA's runtime: CDI may know them by other names, or not."""
    return bool(spec.gpus) and not host.cdi.issuperset(_cdi_names(spec))


def _cdi_names(spec: SandboxSpec) -> list[str]:
    return [f"nvidia.com/gpu={uuid}" for uuid in spec.gpus]


def _gpu_requests(spec: SandboxSpec, host: Host) -> list[dict[str, Any]]:
    if not spec.gpus:
        return []
    if not _by_runtime(spec, host):
        return [{"Driver": "cdi", "DeviceIDs": _cdi_names(spec)}]
    return [
        {
            "Driver": "nvidia",
            "DeviceIDs": list(spec.gpus),
            "Capabilities": [["gpu", "compute", "utility"]],
        }
    ]


def _device(path: str) -> dict[str, str]:
    return {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"}
