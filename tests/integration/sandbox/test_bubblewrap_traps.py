"""Ways in which bubblewrap, used naively, is no sandbox."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.sandboxes import Runner


async def test_the_host_user_is_neither_root_nor_the_agents(runner: Runner) -> None:
    spec = runner.spec("linger", "sleep", stdin=os.open(os.devnull, os.O_RDONLY))
    prepared = await runner.sandbox.prepare(spec)
    try:
        prepared.go()
        pids = [
            int(pid)
            for group in Path("/sys/fs/cgroup").glob(f"pids/**/{spec.name}")
            for pid in (group / "cgroup.procs").read_text().split()
        ]
        environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in pids]
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        (user,) = {status.split("Uid:")[1].split()[0] for status in statuses}
        assert int(user) >= 210_001
        assert not any(b"HERMES_CANARY" in environment for environment in environments)
    finally:
        await prepared.close()
        os.close(spec.stdin)
