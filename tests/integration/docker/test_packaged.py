"""A function whose artifact is named runs from an image of its own."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from tests.support.containers import containers_of
from tests.support.sandboxes import Runner


async def test_a_packaged_function_runs_without_its_folder(runner: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "function"
    folder.mkdir(mode=0o755)
    program = folder / "main"
    program.write_text("#!/bin/sh\necho packaged; touch /fn/x\n")
    program.chmod(0o755)
    artifact = uuid.uuid4().hex * 2
    outcome = await runner.run("/fn/main", function_dir=folder, artifact=artifact)
    assert outcome.stdout == b"packaged\n"
    assert b"Read-only file system" in outcome.stderr
    stdin = os.open(os.devnull, os.O_RDONLY)
    spec = runner.spec("/fn/main", function_dir=folder, artifact=artifact, stdin=stdin)
    prepared = await runner.sandbox.prepare(spec)
    found = await containers_of(runner.sandbox._owner)  # type: ignore[attr-defined]
    mounts = found[f"hermes-{spec.name}"]["HostConfig"]["Mounts"]
    assert "/fn" not in {mount["Target"] for mount in mounts}
    program.unlink()
    prepared.go()
    await prepared.wait()
    assert os.read(prepared.stdout, 100) == b"packaged\n"
    await prepared.close()
    os.close(stdin)
    await runner.sandbox._functions.forget(artifact)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [".wh..", ".wh...", ".wh.main"])
async def test_a_function_with_files_that_no_image_can_hold_is_shown_from_its_folder(
    runner: Runner, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "function"
    folder.mkdir(mode=0o755)
    (folder / name).write_text("all of it\n")
    program = folder / "main"
    program.write_text(f"#!/bin/sh\ncat /fn/{name}; touch /fn/x\n")
    program.chmod(0o755)
    artifact = uuid.uuid4().hex * 2
    outcome = await runner.run("/fn/main", function_dir=folder, artifact=artifact)
    assert outcome.stdout == b"all of it\n"
    assert b"Read-only file system" in outcome.stderr
