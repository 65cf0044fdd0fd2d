"""Whether sandboxes work here: start one and see."""

from __future__ import annotations

import os
from pathlib import Path

from infra.sandbox.port import MIB, Sandbox, SandboxError, SandboxLimits, SandboxSpec


async def probe(sandbox: Sandbox, folder: Path) -> str | None:
    """Run /bin/true, with `folder` as its function: None if it works, else why it does not."""
    limits = SandboxLimits(time=10, memory=64 * MIB, cpus=1, output=MIB, processes=8)
    stdin = os.open(os.devnull, os.O_RDONLY)
    try:
        run = await sandbox.prepare(
            SandboxSpec(
                name=f"probe-{os.getpid()}",
                argv=("/bin/true",),
                kind="run",
                function_dir=folder,
                stdin=stdin,
                limits=limits,
            )
        )
    except SandboxError as error:
        return str(error)
    finally:
        os.close(stdin)
    try:
        run.go()
        ended = await run.wait()
    finally:
        await run.close()
    return None if ended.exit_code == 0 else f"/bin/true ended so: {ended}"
