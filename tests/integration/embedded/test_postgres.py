"""The embedded database: starts, kills, stale files, a home that only root may enter."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from infra.embedded.errors import EmbeddedFault
from infra.embedded.ports import free_ports
from infra.embedded.postgres import PostgresServer
from infra.embedded.spawn import PLAIN_ENVIRONMENT, run_to_end, spawn


@pytest.fixture
def server(tmp_path: Path) -> PostgresServer:
    home = tmp_path / "home of 'one' user"
    home.mkdir(mode=0o700)
    return PostgresServer(
        folder=home / "postgres", port=free_ports(1)[0], password_file=home / "password"
    )


@contextmanager
def running(server: PostgresServer, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    server.prepare()
    process = spawn(server.command(), log=log, env=PLAIN_ENVIRONMENT, never_root=True)
    try:
        deadline = time.monotonic() + 20
        while not server.is_ready(process.pid):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(10)


async def query(server: PostgresServer, *statements: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return [await connection.fetch(statement) for statement in statements][-1]
    finally:
        await connection.close()


async def test_committed_rows_are_there_after_a_kill_9(
    server: PostgresServer, tmp_path: Path
) -> None:
    log = tmp_path / "postgres.log"
    with running(server, log) as process:
        await query(server, "CREATE TABLE t (x int)", "INSERT INTO t VALUES (7)")
        process.kill()
        process.wait()
    with running(server, log):
        assert [tuple(row) for row in await query(server, "SELECT x FROM t")] == [(7,)]  # type: ignore[attr-defined]


async def test_a_pid_that_now_belongs_to_another_program_does_not_stop_the_start(
    server: PostgresServer, tmp_path: Path
) -> None:
    with running(server, tmp_path / "postgres.log") as process:
        process.kill()
        process.wait()
    pid_file = server.folder / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        with running(server, tmp_path / "postgres.log"):
            await query(server, "SELECT 1")
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_that_runs_on_the_folder_is_left_alone(
    server: PostgresServer, tmp_path: Path
) -> None:
    with running(server, tmp_path / "postgres.log") as process:
        with pytest.raises(EmbeddedFault, match=f"pid {process.pid}.*stop it"):
            server.prepare()
        assert server.is_ready(process.pid)


async def test_a_lost_password_is_replaced(server: PostgresServer, tmp_path: Path) -> None:
    server.prepare()
    server.password_file.unlink()
    with running(server, tmp_path / "postgres.log"):
        await query(server, "SELECT 1")


async def test_only_hermes_role_with_its_password_gets_in(
    server: PostgresServer, tmp_path: Path
) -> None:
    with running(server, tmp_path / "postgres.log"):
        assert stat.S_IMODE(server.password_file.stat().st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url, password="guess")
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(server.url, user="postgres", database="postgres")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await query(server, "COPY (SELECT 1) TO PROGRAM 'true'")


def test_a_creation_that_was_cut_off_is_done_again(server: PostgresServer, tmp_path: Path) -> None:
    half = server.folder.with_name("postgres.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with running(server, tmp_path / "postgres.log"):
        assert not half.exists()


def test_the_server_dies_with_whoever_started_it(server: PostgresServer, tmp_path: Path) -> None:
    server.prepare()
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from infra.embedded.spawn import spawn\n"
        "process = spawn(sys.argv[2:], log=Path(sys.argv[1]), never_root=True)\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "postgres.log", *server.command()],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        deadline = time.monotonic() + 10
        while not server.is_ready(pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        parent.kill()
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to become")
def test_a_plain_user_runs_it_as_well(tmp_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from infra.embedded.ports import free_ports\n"
        "from infra.embedded.postgres import PostgresServer\n"
        "from infra.embedded.spawn import spawn\n"
        "home = Path(sys.argv[1])\n"
        "port = free_ports(1)[0]\n"
        "server = PostgresServer(\n"
        "    folder=home / 'pg', port=port, password_file=home / 'password')\n"
        "server.prepare()\n"
        "process = spawn(server.command(), log=home / 'log', never_root=True)\n"
        "while not server.is_ready(process.pid):\n"
        "    assert process.poll() is None, (home / 'log').read_text()\n"
        "    time.sleep(0.01)\n"
        "process.kill()\n"
        "print('PostgreSQL is up for', os.geteuid())\n"
    )
    # In a user namespace of our own this program is a plain user, who can become nobody else.
    run_to_end(
        [
            sys.executable,
            "-c",
            f"import sys\nsys.path.append({str(Path.cwd())!r})\n{program}",
            tmp_path,
        ],
        timeout=60,
        log=tmp_path / "out",
        never_root=True,
    )
    assert "PostgreSQL is up" in (tmp_path / "out").read_text()
