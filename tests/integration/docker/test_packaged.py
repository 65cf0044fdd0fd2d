"""A function whose artifact is named runs from an image of its own."""

from __future__ import annotations

import asyncio
import os
import tempfile
import uuid
from pathlib import Path

import pytest

from infra.engine import connect
from infra.images.engine import list_labelled
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.docker.function_images import ARTIFACT_LABEL
from infra.sandbox.port import Prepared
from infra.toolchain.model import Toolchain
from tests.support.containers import containers_of
from tests.support.sandboxes import Runner


async def test_a_packaged_function_runs_without_its_folder(runner: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "function"
    folder.mkdir(mode=0o755)
    program = folder / "main"
    program.write_text("#!/bin/sh\necho packaged; touch /fn/x\n")
    program.chmod(0o755)
    fields = {"function_dir": folder, "artifact": uuid.uuid4().hex * 2, "function": "ana/main:1"}
    outcome = await runner.run("/fn/main", **fields)
    assert outcome.stdout == b"packaged\n"
    assert b"Read-only file system" in outcome.stderr
    stdin = os.open(os.devnull, os.O_RDONLY)
    spec = runner.spec("/fn/main", stdin=stdin, **fields)
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
    await runner.sandbox.forget("ana/main:1")


async def images_of(artifact: str) -> int:
    async with await connect() as client:
        return len(await list_labelled(client, f"{ARTIFACT_LABEL}={artifact}"))


async def test_the_image_of_a_deleted_function_goes_when_nothing_runs_in_it(
    runner: Runner, tmp_path: Path
) -> None:
    folder = tmp_path / "function"
    folder.mkdir(mode=0o755)
    (folder / "data").write_text("all of it\n")
    artifact = uuid.uuid4().hex * 2
    fields = {"function_dir": folder, "artifact": artifact, "function": "ana/cat:1.0.0"}

    async def is_deleted(_: Prepared) -> None:
        await runner.sandbox.forget("ana/cat:1.0.0")
        assert await images_of(artifact) == 1

    outcome = await runner.run(
        "/bin/sh", "-c", "sleep 0.5; cat /fn/data", during=is_deleted, **fields
    )
    assert outcome.stdout == b"all of it\n"
    async with asyncio.timeout(20):  # the container goes when the engine has the time for it
        while await images_of(artifact):
            await asyncio.sleep(0.05)


async def test_functions_are_packed_in_a_folder_that_is_emptied_at_the_start(
    toolchain: Toolchain, attacks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "agent" / "images"
    left = scratch / "hermes-image-of-a-killed-agent"
    left.mkdir(parents=True)
    (left / "layer.tar").write_text("half of it")
    sandbox = DockerSandbox(
        f"packing-{os.getpid()}", run_image=toolchain.run_image, scratch=scratch
    )
    await sandbox.open()
    try:
        assert list(scratch.iterdir()) == []
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        fields = {"artifact": uuid.uuid4().hex * 2, "function": "ana/normal:1.0.0"}
        outcome = await Runner(sandbox, attacks).run("normal", **fields)
        assert outcome.exit.exit_code == 5
        assert list(scratch.iterdir()) == []
        await sandbox.forget("ana/normal:1.0.0")
    finally:
        await sandbox.close()


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
