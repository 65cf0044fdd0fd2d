"""An agent in a process of its own, for tests that freeze or kill it.

    python -m tests.support.sandbox_owner OWNER FUNCTIONS TIME [LOCK [IMAGE [HOW]]] -- ARGV...

Opens the sandboxes (containers if an image is named), starts one program, says so and waits. HOW
"waiting": the program is never let go; "ended": it is over, its container stays.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.docker import departures
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import Sandbox
from tests.support.sandboxes import LIMITS, Runner


async def own(
    owner: str, functions: str, time: str, lock: str, image: str, how: str, argv: list[str]
) -> None:
    sandbox: Sandbox = BubblewrapSandbox(owner)
    if image:
        sandbox = DockerSandbox(owner, run_image=image)
    await sandbox.open()
    spec = Runner(sandbox, Path(functions)).spec(
        *argv, stdin=os.open(os.devnull, os.O_RDONLY), held_fds=(int(lock),) if lock else ()
    )
    spec = msgspec.structs.replace(spec, limits=msgspec.structs.replace(LIMITS, time=float(time)))
    prepared = await sandbox.prepare(spec)
    if how != "waiting":
        prepared.go()
    if how == "ended":
        departures.QUIET = departures.LONGEST = 60.0
        await prepared.kill("cancelled")
        await prepared.wait()
        await prepared.close()
    print("started", flush=True)
    if how == "ended":
        await asyncio.sleep(60)
    ended = await prepared.wait()
    print("ended", ended.killed, flush=True)
    await prepared.close()
    await sandbox.close()


if __name__ == "__main__":
    at = sys.argv.index("--")
    asyncio.run(own(*[*sys.argv[1:at], *[""] * 4][:6], argv=sys.argv[at + 1 :]))
