"""A root folder made of the host distribution's packages, by mmdebstrap: the same bytes each time.

Packages are extracted and not configured, so that nothing of theirs runs; what their scripts would
have set up and programs need (the loader's cache, users) is the caller's or done here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path

from infra.images.apt import AptSources
from infra.images.errors import ImageFailed
from infra.images.threads import in_thread

#: The time of every file in an image, 2000-01-01: `make` takes the first seconds of 1970 for signs.
EPOCH = 946_684_800

_LINKS = ("bin", "sbin", "lib", "lib64")  # as all of today's Debian: into /usr
#: Of a package manager, of this build, and what is written anew everywhere.
_LEFT_OVER = (
    "dev",
    "etc/apt",
    "etc/fstab",
    "etc/hostname",
    "etc/machine-id",
    "etc/resolv.conf",
    "run",
    "tmp",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/cache/ldconfig",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
)
_MOUNT_POINTS = ("dev", "proc", "run", "sys", "tmp")
_PATIENCE = 1800.0


def make_rootfs(folder: Path, packages: Iterable[str], sources: AptSources) -> None:
    """As `install_rootfs`, for a thread without an event loop."""
    asyncio.run(install_rootfs(folder, packages, sources))


async def install_rootfs(folder: Path, packages: Iterable[str], sources: AptSources) -> None:
    """Fill `folder`, which must not exist, with the packages and all that they need.

    Nothing is left of it when this fails or is cancelled. Raises ImageFailed.
    """
    if os.geteuid() != 0:
        raise ImageFailed("only root can make images: their files belong to several users")
    # mmdebstrap mounts /proc and /sys into the folder: in a namespace of its own, so that whatever
    # becomes of it nothing is mounted there afterwards, when the folder is removed.
    # None of it outlives us, however we end.
    mortal = ["setpriv", "--pdeathsig", "KILL"]
    enclosed = [*mortal, "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    try:
        await _run([*enclosed, *_command(folder, packages, sources)])
        await in_thread(_finish, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _command(folder: Path, packages: Iterable[str], sources: AptSources) -> list[str]:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ImageFailed(
            "mmdebstrap is not on this machine; install it with: apt install mmdebstrap"
        )
    lists = " ".join(shlex.quote(str(path)) for path in sources.lists)
    links = " ".join(_LINKS)
    prepare = (
        f'for name in {links}; do mkdir -p "$1/usr/$name" && ln -s "usr/$name" "$1/$name"; done && '
        f'mkdir -p "$1/var/lib/apt/lists/partial" && cp {lists} "$1/var/lib/apt/lists"'
    )
    return [
        program,
        "--mode=root",
        "--variant=extract",
        "--format=directory",
        "--skip=update,cleanup/apt,check/signed-by",
        "--setup-hook=" + prepare,
        *(f"--aptopt={option}" for option in sources.options),
        "--include=" + ",".join(packages),
        "",
        str(folder),
        *sources.lines,
    ]


async def _run(command: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is ours to handle: the folder is removed afterwards
        env={**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": str(EPOCH)},
    )
    try:
        async with asyncio.timeout(_PATIENCE):
            _, said = await process.communicate()
    except TimeoutError as error:
        raise ImageFailed(f"mmdebstrap took longer than {_PATIENCE:.0f} s") from error
    finally:
        # Whatever happened; process 1 of the namespace takes all others along.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode != 0:
        lines = said.decode("utf-8", "replace").splitlines()
        errors = [line for line in lines if line.startswith("E:")] or lines
        reason = " ".join(errors[-3:])
        raise ImageFailed(f"mmdebstrap failed: {reason}; perhaps run: apt-get update")


def _finish(folder: Path) -> None:
    _tidy(folder)
    configuration = folder / "etc/ld.so.conf"
    if not configuration.exists() and (folder / "etc/ld.so.conf.d").is_dir():
        configuration.write_text("include /etc/ld.so.conf.d/*.conf\n", encoding="ascii")
    configure_loader(folder)


def _tidy(folder: Path) -> None:
    for name in _LEFT_OVER:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    documents = folder / "usr/share/doc"
    for path in documents.rglob("*") if documents.is_dir() else ():
        # Licences ask to be passed on; the rest nobody reads in a container.
        if not path.is_dir() and path.name != "copyright":
            path.unlink()
    for name in _MOUNT_POINTS:
        (folder / name).mkdir(mode=0o755, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _drop_set_id(Path(parent, name))


def _drop_set_id(path: Path) -> None:
    mode = path.lstat().st_mode
    if not stat.S_ISLNK(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
        path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


def configure_loader(folder: Path) -> None:
    """Write the loader's cache of the libraries below `folder`. Raises ImageFailed."""
    done = subprocess.run(
        ["/sbin/ldconfig", "-X", "-r", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ImageFailed(f"ldconfig failed: {done.stderr.strip()[-300:]}")
    shutil.rmtree(folder / "var/cache/ldconfig", ignore_errors=True)
