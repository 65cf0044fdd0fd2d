"""An agent that is not root encloses programs too, and says what it cannot promise."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
USER = 54_321


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_without_root_the_walls_stand_and_the_promises_are_fewer(attacks: Path) -> None:
    for folder in [attacks, *attacks.parents][:3]:  # pytest's own folders are private
        folder.chmod(folder.stat().st_mode | 0o055)
    command = [sys.executable, "-m", "tests.support.sandbox_without_root", str(attacks), str(USER)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    found = json.loads(output)
    assert found["probe"] is None
    promises = found["promises"]
    assert promises["network"] and promises["host files"] and promises["system calls"]
    assert not promises["memory, processes and CPU"]
    assert not promises["number of files"]
    assert not promises["tenants apart"]
    assert found["normal"] == [5, "done", "2 in"]
    look = found["look"]
    assert look["uid"] == "1000" and look["processes"] == "2" and int(look["CapEff"], 16) == 0
    assert {look[path] for path in ("/etc/shadow", "/root", "/home", str(ROOT))} == {
        "No such file or directory"
    }
    assert "memory" not in found["memory"], "one process stops at its address space"
    assert found["bytes"].endswith("No space left on device")
    assert found["processes"].endswith("Resource temporarily unavailable")
    assert found["slept"] == ["timed_out", 9]
    assert found["daemon"] == 0
    assert found["built"] == "built\n"
