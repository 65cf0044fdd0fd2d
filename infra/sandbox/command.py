"""The command lines of a bubblewrap sandbox, as pure functions of what is to be enclosed.

    unshare (leaves root) exec→ bwrap, waits for its arguments: by then it is limited
        └ sh, process 1 inside: says "ready", waits for go, runs the program, says how it ended
            └ the program

Descriptors on the way: 0 stdin, 1 the program's stdout, 2 diagnostics of the tools, 3 the program's
stderr, 4 status to the agent, 5 go from the agent, 6 the system call filter, 7 bwrap's arguments.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from infra.sandbox.port import SandboxSpec
from infra.sandbox.skeleton import USER_ID

STDERR, STATUS, GO, FILTER, ARGUMENTS = 3, 4, 5, 6, 7
OPEN_FILES = 1024
_BLOCK = 512  # bytes, the shell's unit for file sizes
PATH = "/usr/local/bin:/usr/bin:/bin"
UNSHARE = Path("/usr/bin/unshare")

# A shell as process 1 takes no signal from inside its own process namespace (but those it handles,
# hence the trap), collects orphans, and when it exits the kernel kills whatever the program left
# behind. Nothing of ours is passed on. The subshell becomes the program; with a plain call the
# shell's words on a death by signal, from which `ending` learns of it, would go to the program's
# stderr.
_PROCESS_ONE = (
    f"trap '' INT QUIT; echo ready >&{STATUS}; read -r go <&{GO} || exit 125; "
    f'(trap - INT QUIT; exec "$@" 2>&{STDERR} {STDERR}>&- {STATUS}>&- {GO}<&-); '
    f'echo "exit $?" >&{STATUS}'
)

_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
            "--unshare-cgroup", "--disable-userns", "--uid", str(USER_ID), "--gid", str(USER_ID),
            "--hostname", "hermes", "--cap-drop", "ALL")  # fmt: skip
_ENDING = ("--die-with-parent", "--new-session", "--as-pid-1")
TELLTALES = ("kcore", "keys", "key-users", "kallsyms", "timer_list", "sched_debug",
              "latency_stats", "sysrq-trigger")  # fmt: skip


def command(bwrap: Path, spec: SandboxSpec, user: int | None, *, grouped: bool) -> tuple[str, ...]:
    """The command line to start. It waits for `arguments` on its descriptor for them.

    `user` None: stay who we are. Not `grouped`: no control group bounds memory and processes.
    """
    drop: tuple[str, ...] = ()
    if user is not None:
        # bwrap started by root stays root on the host however it maps the user. `unshare` unshares
        # nothing here: it is the lightest of the tools that leave root and all groups (setpriv
        # takes 0.6 ms more). bwrap itself begins by forbidding new privileges.
        drop = (str(UNSHARE), f"--setgid={user}", f"--setuid={user}", "--")
    inside = ("/bin/sh", "-c", _rlimits(spec, grouped) + _PROCESS_ONE, "sh", *spec.argv)
    return (*drop, str(bwrap), "--args", str(ARGUMENTS), "--", *inside)


def arguments(spec: SandboxSpec, view: Sequence[str]) -> bytes:
    """What bwrap reads from its descriptor; `view` is the part about the file system."""
    words = [*_NAMESPACES, *_ENDING, "--clearenv"]
    for name, value in environment(spec).items():
        words += ["--setenv", name, value]
    words += [*view, *_masks(), "--chdir", "/work", "--seccomp", str(FILTER)]
    return os.fsencode("\0".join(words) + "\0")


def _rlimits(spec: SandboxSpec, grouped: bool) -> str:
    """No core files; bounded descriptors and file size.

    Without a control group, stand-ins for it: per process, so a program with many gets past them.
    Never the address space where a GPU is: CUDA reserves more than any machine has.
    """
    limits = {"c": 0, "n": OPEN_FILES, "f": max(1, spec.limits.file_bytes // _BLOCK)}
    if not grouped:
        limits["p"] = spec.limits.processes
        if not spec.gpu_devices:
            limits["v"] = spec.limits.memory // 1024
    return "".join(f"ulimit -{letter} {value}; " for letter, value in limits.items())


def environment(spec: SandboxSpec) -> dict[str, str]:
    """All variables that a program sees, but for PWD, which whoever starts it sets."""
    ours = {"PATH": PATH, "HOME": "/work", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108
    return {**ours, "USER": "hermes", **spec.env}


@cache
def _masks() -> tuple[str, ...]:
    """Hide what the host's /proc tells everybody about its kernel; the rest is closed by mode."""
    told = [Path("/proc", name) for name in TELLTALES if Path("/proc", name).is_file()]
    told = [path for path in told if path.stat().st_mode & 0o006]
    return tuple(word for path in told for word in ("--ro-bind", "/dev/null", str(path)))
