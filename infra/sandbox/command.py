"""The command lines of a bubblewrap sandbox, as pure functions of what is to be enclosed.

    sh (joins the control groups, sets limits) exec→ setpriv (drops root) exec→ bwrap
        └ sh, process 1 inside: says "ready", waits for go, runs the program, says how it ended
            └ the program

Descriptors on the way: 0 stdin, 1 the program's stdout, 2 diagnostics of the tools, 3 the program's
stderr, 4 status to the agent, 5 go from the agent, 6 the system call filter.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from infra.sandbox.port import SandboxSpec
from infra.sandbox.skeleton import USER_ID

STDERR, STATUS, GO, FILTER = 3, 4, 5, 6
OPEN_FILES = 1024
PATH = "/usr/local/bin:/usr/bin:/bin"

# A shell as process 1 takes no signal from inside its own process namespace (but those it handles,
# hence the trap), collects orphans, and when it exits the kernel kills whatever the program left
# behind. Nothing of ours is passed on. The
# subshell becomes the program; with a plain call the shell's words on a death by signal, from which
# `ending` learns of it, would go to the program's stderr.
_PROCESS_ONE = (
    f"trap '' INT QUIT; echo ready >&{STATUS}; read -r go <&{GO} || exit 125; "
    f'(trap - INT QUIT; exec "$@" 2>&{STDERR} {STDERR}>&- {STATUS}>&- {GO}<&-); '
    f'echo "exit $?" >&{STATUS}'
)

# Of the host's root folder: programs and libraries, no more. Links there (/bin → usr/bin) are kept.
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_HIDDEN_IN_PROC = ("kcore", "keys", "key-users", "kallsyms", "timer_list", "sched_debug",
                   "latency_stats")  # fmt: skip


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where the pieces of one sandbox lie on the host. A writable one that is None becomes a tmpfs
    of bwrap's own, which bounds bytes, not files."""

    etc: Path
    function: Path | None
    work: Path | None
    tmp: Path | None
    shm: Path | None
    tmp_bytes: int
    shm_bytes: int
    extra_ro_binds: tuple[tuple[str, str], ...] = ()


def launcher(
    entrances: Iterable[Path], file_bytes: int, user: int | None, bwrap: Sequence[str]
) -> tuple[str, ...]:
    """The outer command: join the groups, set the limits that rlimits can, drop root, enclose.

    `user` None: stay who we are. No core files; descriptors and file size are bounded. Never the
    address space: CUDA reserves more than any machine has.
    """
    script = "".join(f"echo 0 >{shlex.quote(str(path))} || exit 125\n" for path in entrances)
    script += f"ulimit -c 0\nulimit -f {max(1, file_bytes // 512)}\nulimit -n {OPEN_FILES}\n"
    script += 'exec "$@"\n'
    drop: tuple[str, ...] = ()
    if user is not None:
        # bwrap started by root stays root on the host however it maps the user.
        drop = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
                "--bounding-set=-all", "--no-new-privs", "--")  # fmt: skip
    return ("/bin/sh", "-c", f"PATH={PATH}\n{script}", "sh", *drop, *bwrap)


def enclosure(
    bwrap: Path, spec: SandboxSpec, places: Places, rlimits: Mapping[str, int]
) -> list[str]:
    """bwrap's arguments up to and with process 1.

    `rlimits`, by the letters of the shell's ulimit, are for hosts without control groups.
    """
    args = [str(bwrap)]
    args += ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    args += ["--unshare-cgroup", "--disable-userns", "--uid", str(USER_ID), "--gid", str(USER_ID)]
    args += ["--die-with-parent", "--new-session", "--as-pid-1", "--cap-drop", "ALL"]
    args += ["--hostname", "hermes", "--clearenv"]
    for name, value in _environment(spec).items():
        args += ["--setenv", name, value]
    args += _system()
    args += ["--ro-bind", str(places.etc), "/etc"]
    args += ["--proc", "/proc"]
    for name in _HIDDEN_IN_PROC:
        if Path("/proc", name).is_file():
            args += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    args += ["--dev", "/dev"]
    for device in spec.gpu_devices:
        args += ["--dev-bind", device, device]
    args += _writable(places.shm, "/dev/shm", places.shm_bytes)  # noqa: S108
    args += _writable(places.tmp, "/tmp", places.tmp_bytes)  # noqa: S108
    if spec.gpu_devices:
        args += ["--ro-bind", "/sys", "/sys"]
    for host, inside in places.extra_ro_binds:
        args += ["--ro-bind", host, inside]
    if places.function is not None:
        args += ["--ro-bind", str(places.function), "/fn"]
    args += _writable(places.work, "/work", spec.limits.work_bytes)
    args += ["--chdir", "/work", "--remount-ro", "/dev", "--remount-ro", "/"]
    args += ["--seccomp", str(FILTER), "--"]
    limits = "".join(f"ulimit -{letter} {value}; " for letter, value in rlimits.items())
    return [*args, "/bin/sh", "-c", limits + _PROCESS_ONE, "sh", *spec.argv]


def _writable(host: Path | None, inside: str, size: int) -> list[str]:
    if host is not None:
        return ["--bind", str(host), inside]
    return ["--perms", "1777", "--size", str(size), "--tmpfs", inside]


def _environment(spec: SandboxSpec) -> dict[str, str]:
    ours = {"PATH": PATH, "HOME": "/work", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108
    return {**ours, "USER": "hermes", **spec.env}


def _system() -> list[str]:
    args = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            args += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            args += ["--ro-bind", str(path), str(path)]
    return args
