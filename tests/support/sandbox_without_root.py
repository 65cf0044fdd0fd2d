"""An agent that is not root: python -m tests.support.sandbox_without_root FUNCTIONS UID.

Drops root, runs a few programs and prints what came of them as JSON.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  (out of reach later, where Python is root's)
import encodings.idna  # noqa: F401
import json
import os
import sys
from pathlib import Path
from typing import Any

from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.port import MIB
from tests.support.sandboxes import Runner


async def report(functions: Path) -> dict[str, Any]:
    sandbox = BubblewrapSandbox("without-root")
    await sandbox.open()
    found: dict[str, Any] = {"probe": await sandbox.probe()}
    found["promises"] = {promise.name: promise.holds for promise in sandbox.guarantees()}
    runner = Runner(sandbox, functions)
    normal = await runner.run("normal", stdin=b"in")
    found["normal"] = [normal.exit.exit_code, normal.steps["work"], normal.steps["input"]]
    looked = await runner.run("look", ":self", "/etc/shadow", "/root", "/home", str(Path.cwd()))
    found["look"] = looked.steps
    found["memory"] = (await runner.run("hog", "memory")).steps
    found["bytes"] = (await runner.run("fill", "bytes", "/work")).steps["bytes"]
    found["processes"] = (await runner.run("hog", "processes")).steps["processes"]
    slept = await runner.run("linger", "deaf", limits={"time": 0.3})
    found["slept"] = [slept.exit.killed, slept.exit.signal]
    found["daemon"] = (await runner.run("linger", "daemon")).exit.exit_code
    spec = runner.spec(
        "/bin/sh", "-c", "echo built > out", kind="build", keep_work=True,
        stdin=os.open(os.devnull, os.O_RDONLY), limits={"work_bytes": 8 * MIB},
    )  # fmt: skip
    prepared = await sandbox.prepare(spec)
    prepared.go()
    await prepared.wait()
    assert prepared.work is not None
    found["built"] = (prepared.work / "out").read_text()
    await prepared.close()
    await sandbox.close()
    return found


if __name__ == "__main__":
    attacks, user = Path(sys.argv[1]), int(sys.argv[2])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # The guard needs an interpreter that this user may start.
    sys.executable = next(
        path for path in (sys.executable, "/usr/bin/python3") if os.access(path, os.X_OK)
    )
    print(json.dumps(asyncio.run(report(attacks))))
