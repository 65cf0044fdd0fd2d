"""Apache Kafka's jars: pinned in kafka.jars, fetched once into the user's cache, always checked.

Also `python -m infra.embedded.jars`, which only fetches.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import msgspec

from infra.embedded.errors import JarsUnavailable

Report = Callable[[str], None]

_LOCK_FILE = Path(__file__).with_name("kafka.jars")
_PARALLEL = 8
_TRIES = 3
_MIRROR = "HERMES_MAVEN"
_TIMEOUT = 20  # seconds without a byte


class Jar(msgspec.Struct, frozen=True):
    """One pinned Maven artifact."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in the cache folder."""
        return f"{self.artifact}-{self.version}.jar"


def pinned(lock_file: Path = _LOCK_FILE) -> tuple[Jar, ...]:
    """The jars of the lock file, in class path order."""
    jars = []
    for line in lock_file.read_text().splitlines():
        if line and not line.startswith("#"):
            coordinate, digest = line.split(" sha256:")
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, digest))
    return tuple(jars)


def jar_folder() -> Path:
    """`$XDG_CACHE_HOME/hermes/jars` (`~/.cache/hermes/jars`)."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "hermes" / "jars"


def jar_paths() -> list[Path]:
    """Where the pinned jars lie once they are fetched, in class path order."""
    return [jar_folder() / jar.file_name for jar in pinned()]


def ensure_jars(
    report: Report = lambda line: None,
    folder: Path | None = None,
    jars: tuple[Jar, ...] | None = None,
) -> list[Path]:
    """Every pinned jar, verified, fetching what is missing. Raises JarsUnavailable.

    All jars are hashed on every call: 45 MB cost 30 ms, and no damaged jar is ever run.
    """
    folder = folder or jar_folder()
    jars = jars or pinned()
    missing = [jar for jar in jars if not _intact(folder / jar.file_name, jar)]
    if missing:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with cache_lock(folder):
                # Whoever held the lock before us may have fetched them.
                missing = [jar for jar in missing if not _intact(folder / jar.file_name, jar)]
                _fetch_all(missing, folder, report)
        except OSError as error:
            raise JarsUnavailable(
                f"{error}; set XDG_CACHE_HOME to a folder with room for 120 MB that can be written"
            ) from None
    return [folder / jar.file_name for jar in jars]


def _intact(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def cache_lock(folder: Path) -> Iterator[None]:
    """Let one process at a time change the cache folder."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_all(missing: list[Jar], folder: Path, report: Report) -> None:
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="fetch-jar")
    try:
        fetches = [pool.submit(_fetch, jar, partial, folder) for jar in missing]
        for done, fetch in enumerate(as_completed(fetches)):
            if done % 5 == 0:
                report(f"Fetching Apache Kafka: {done} of {len(missing)} jars")
            fetch.result()
        if missing:
            report(f"Fetched Apache Kafka: {len(missing)} jars in {folder}")
    finally:
        # After a failure or Ctrl-C nothing new starts; jars already in place stay for the next try.
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(partial, ignore_errors=True)


def _fetch(jar: Jar, partial: Path, folder: Path) -> None:
    # Imported here: a warm start needs neither jgo nor requests (0.2 s).
    from jgo.maven import MavenContext  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    mirror = os.environ.get(_MIRROR)
    context = MavenContext(
        repo_cache=partial / jar.artifact,
        remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
        timeout=_TIMEOUT,
    )
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for _ in range(_TRIES):
        # jgo takes any file that is there for a whole one, so a failed try starts from nothing.
        shutil.rmtree(context.repo_cache, ignore_errors=True)
        try:
            fetched = Path(artifact.resolve())
        except (RequestException, RuntimeError) as error:
            reason = f"{error}. Check the network (HTTPS_PROXY is honoured)"
            continue
        if _intact(fetched, jar):
            fetched.replace(folder / jar.file_name)
            return
        reason = "what came does not have the SHA-256 that Hermes pins; use another network"
    raise JarsUnavailable(
        f"{jar.group}:{jar.artifact}:{jar.version}: {reason}, or name another Maven repository in "
        f"{_MIRROR}, and run the command again, it goes on where it stopped; or set HERMES_KAFKA "
        "to a Kafka that runs already"
    )


def main() -> int:
    """Fetch and say so. Exit status: 0, or 1 with the reason on stderr."""
    try:
        paths = ensure_jars(lambda line: print(line, file=sys.stderr, flush=True))
    except JarsUnavailable as error:
        print(f"hermes: {error.title()}: {error.detail}", file=sys.stderr)
        return 1
    print(f"Apache Kafka: {len(paths)} jars in {paths[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
