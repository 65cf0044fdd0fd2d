"""An agent in a process of its own, for tests that freeze or kill it.

    python -m tests.support.sandbox_owner OWNER FUNCTIONS TIME [LOCK] -- ARGV...

Opens the sandboxes, starts one program, prints the process ids of guard and bwrap, and waits.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from infra.sandbox.bubblewrap import BubblewrapSandbox
from tests.support.sandboxes import LIMITS, Runner


async def own(owner: str, functions: str, time: str, lock: str, argv: list[str]) -> None:
    sandbox = BubblewrapSandbox(owner)
    await sandbox.open()
    spec = Runner(sandbox, Path(functions)).spec(
        *argv, stdin=os.open(os.devnull, os.O_RDONLY), held_fds=(int(lock),) if lock else ()
    )
    spec = msgspec.structs.replace(spec, limits=msgspec.structs.replace(LIMITS, time=float(time)))
    prepared = await sandbox.prepare(spec)
    prepared.go()
    print("started", flush=True)
    ended = await prepared.wait()
    print("ended", ended.killed, flush=True)
    await prepared.close()
    await sandbox.close()


if __name__ == "__main__":
    at = sys.argv.index("--")
    asyncio.run(own(*[*sys.argv[1:at], "", ""][:4], argv=sys.argv[at + 1 :]))
