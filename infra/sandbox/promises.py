"""What a sandbox promises on this host, for `hermes doctor` and the agent's inventory."""

from __future__ import annotations

from infra.sandbox import seccomp
from infra.sandbox.command import UNSHARE
from infra.sandbox.port import Guarantee


def of_bubblewrap(*, root: bool, groups: bool, groups_detail: str) -> list[Guarantee]:
    """Each promise, whether it holds, and how or why not."""
    user = "a user id of its own, without root's" if root else "the agent's own user id"
    return [
        Guarantee("network", True, "a network namespace with nothing but its own loopback"),
        Guarantee("host files", True, "only /usr and a few files of /etc, read-only"),
        Guarantee(
            "system calls",
            seccomp.supported(),
            "filtered" if seccomp.supported() else "the filter knows x86_64 only",
        ),
        Guarantee(
            "privileges",
            not root or UNSHARE.exists(),
            f"no capabilities, no new ones, {user}",
        ),
        Guarantee("time", True, "kept by the agent, and by a guard beside it when it is frozen"),
        Guarantee(
            "memory, processes and CPU",
            groups,
            f"control groups {groups_detail}"
            if groups
            else f"limits per process only ({groups_detail}): many processes get past them",
        ),
        Guarantee(
            "number of files",
            root,
            "bounded in /work" if root else "not bounded in /work without root",
        ),
        Guarantee(
            "tenants apart",
            root,
            user if root else "all sandboxes share the agent's user id",
        ),
        Guarantee("kernel exploits", False, "the host's kernel is shared; use a VM per tenant"),
    ]


def of_containers(cgroup_version: int | None, runtime: str | None) -> list[Guarantee]:
    """As `of_bubblewrap`; None where no engine has been asked yet."""
    user = "a user id of its own, without root's"
    kernel = f"by the runtime {runtime}" if runtime else "the host's kernel is shared"
    return [
        Guarantee("network", True, "a network namespace with nothing but its own loopback"),
        Guarantee("host files", True, "only the image's, read-only"),
        Guarantee(
            "system calls",
            seccomp.supported(),
            "filtered, twice" if seccomp.supported() else "the filter knows x86_64 only",
        ),
        Guarantee("privileges", True, f"no capabilities, no new ones, {user}"),
        Guarantee("time", True, "kept by the agent, a guard beside it, and process 1 inside"),
        Guarantee(
            "memory, processes and CPU",
            cgroup_version is not None,
            f"control groups version {cgroup_version}" if cgroup_version else "not opened",
        ),
        Guarantee("number of files", True, "bounded in /work, /tmp and /dev/shm"),
        Guarantee("tenants apart", True, user),
        Guarantee("kernel exploits", False, f"{kernel}; use a VM per tenant"),
    ]
