"""The command lines of a bubblewrap sandbox, as pure functions of what is to be enclosed.

    sh (joins the control groups, sets limits) exec→ unshare (leaves root) exec→ bwrap
        └ sh, process 1 inside: says "ready", waits for go, runs the program, says how it ended
            └ the program

Descriptors on the way: 0 stdin, 1 the program's stdout, 2 diagnostics of the tools, 3 the program's
stderr, 4 status to the agent, 5 go from the agent, 6 the system call filter.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from infra.sandbox.port import SandboxSpec
from infra.sandbox.skeleton import USER_ID

STDERR, STATUS, GO, FILTER = 3, 4, 5, 6
OPEN_FILES = 1024
PATH = "/usr/local/bin:/usr/bin:/bin"

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

_UNSHARE = ("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
            "--unshare-cgroup", "--disable-userns", "--uid", str(USER_ID), "--gid", str(USER_ID),
            "--hostname", "hermes", "--cap-drop", "ALL")  # fmt: skip
_ENDING = ("--die-with-parent", "--new-session", "--as-pid-1")
_TELLTALES = ("kcore", "keys", "key-users", "kallsyms", "timer_list", "sched_debug",
              "latency_stats", "sysrq-trigger")  # fmt: skip


def launcher(
    entrances: Iterable[Path], file_bytes: int, user: int | None, bwrap: Sequence[str]
) -> tuple[str, ...]:
    """The outer command: join the groups, set the limits that rlimits can, drop root, enclose.

    `user` None: stay who we are. No core files; descriptors and file size are bounded. Never the
    address space: CUDA reserves more than any machine has.
    """
    script = f"PATH={PATH}:/usr/sbin:/sbin\n"
    script += "".join(f"echo 0 >{shlex.quote(str(path))} || exit 125\n" for path in entrances)
    script += f"ulimit -c 0\nulimit -f {max(1, file_bytes // 512)}\nulimit -n {OPEN_FILES}\n"
    script += 'exec "$@"\n'
    drop: tuple[str, ...] = ()
    if user is not None:
        # bwrap started by root stays root on the host however it maps the user. `unshare` unshares
        # nothing here: it is the lightest of the tools that leave root and all groups (setpriv
        # takes 0.6 ms more). bwrap itself begins by forbidding new privileges.
        drop = ("unshare", f"--setgid={user}", f"--setuid={user}", "--")
    return ("/bin/sh", "-c", script, "sh", *drop, *bwrap)


def enclosure(
    bwrap: Path, spec: SandboxSpec, view: Sequence[str], rlimits: Mapping[str, int]
) -> list[str]:
    """bwrap's command line up to the program's.

    `view` are bwrap's arguments for the file system; `rlimits`, by the letters of the shell's
    ulimit, are for hosts without control groups.
    """
    args = [str(bwrap), *_UNSHARE, *_ENDING, "--clearenv"]
    for name, value in _environment(spec).items():
        args += ["--setenv", name, value]
    args += [*view, *_masks(), "--chdir", "/work", "--seccomp", str(FILTER), "--"]
    limits = "".join(f"ulimit -{letter} {value}; " for letter, value in rlimits.items())
    return [*args, "/bin/sh", "-c", limits + _PROCESS_ONE, "sh", *spec.argv]


def _environment(spec: SandboxSpec) -> dict[str, str]:
    ours = {"PATH": PATH, "HOME": "/work", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108
    return {**ours, "USER": "hermes", **spec.env}


@cache
def _masks() -> tuple[str, ...]:
    """Hide what the host's /proc tells everybody about its kernel; the rest is closed by mode."""
    told = [Path("/proc", name) for name in _TELLTALES if Path("/proc", name).is_file()]
    told = [path for path in told if path.stat().st_mode & 0o006]
    return tuple(word for path in told for word in ("--ro-bind", "/dev/null", str(path)))
