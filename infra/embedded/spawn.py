"""Start a child process that cannot outlive its parent.

Call from the main thread only: the kernel sends the parent-death signal when the *thread* that
forked the child ends.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.embedded.errors import EmbeddedFault

#: For programs that would read the user's settings from the environment (JAVA_*, PG*).
PLAIN_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"}

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_libc = ctypes.CDLL(None, use_errno=True)


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
    never_root: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, its output appended to `log`; SIGKILL when we die.

    `never_root` is for programs that refuse to run as root, see `_leave_root`.
    """
    # Append mode: the log can be cut short while the child goes on writing.
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            # Ctrl-C is for the supervisor alone, which stops its children in order.
            start_new_session=True,
            preexec_fn=_in_child(os.getpid(), never_root and os.geteuid() == 0),  # noqa: PLW1509
        )


def run_to_end(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    log: Path,
    stdin: bytes = b"",
    never_root: bool = False,
) -> None:
    """Run a set-up program to its end, at most `timeout` seconds. Raises EmbeddedFault."""
    process = spawn(
        argv,
        log=log,
        env=PLAIN_ENVIRONMENT,
        cwd=log.parent,
        stdin=subprocess.PIPE,
        never_root=never_root,
    )
    name = Path(argv[0]).name
    try:
        process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        raise EmbeddedFault(f"{name} did not end in {timeout:.0f} s; see {log}") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise EmbeddedFault(f"{name} ended with {process.returncode}; {log} ends with:\n{tail}")


def _in_child(parent: int, leave_root: bool) -> Callable[[], None]:
    user = _any_user() if leave_root else 0

    def prepare() -> None:
        # After the fork: system calls only, nothing that could wait for a lock.
        if user:
            _leave_root(user)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return prepare


def _any_user() -> int:
    # PostgreSQL's initdb looks its user up, so it has to be one that exists.
    for entry in pwd.getpwall():
        if entry.pw_uid:
            return entry.pw_uid
    raise EmbeddedFault("PostgreSQL needs a user other than root to exist; add one with useradd")


def _leave_root(user: int) -> None:
    """Become `user` in a new user namespace that maps it to root outside.

    PostgreSQL does not run as root, and a real other user could not reach data under /root. In
    the namespace it is not root and, after exec, has no capability left, while its files belong to
    root as everything else of Hermes does.
    """
    if _libc.unshare(_CLONE_NEWUSER):
        os.write(
            2,
            b"PostgreSQL does not run as root, and this system lets nobody create the user "
            b"namespace that Hermes would run it in. Start Hermes as another user, or set "
            b"HERMES_DATABASE to a running PostgreSQL.\n",
        )
        os._exit(1)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} 0 1"),
        ("gid_map", f"{user} 0 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)
