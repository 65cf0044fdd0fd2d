"""Functions as image layers in a real engine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

import aiodocker
import pytest

from infra.images import engine
from infra.sandbox.docker.function_images import FunctionImages
from infra.toolchain.model import Toolchain
from tests.integration.images.conftest import LABEL, RunIn

MIB = 1 << 20


@pytest.fixture
def function(tmp_path: Path) -> Path:
    folder = tmp_path / "function"
    folder.mkdir(mode=0o700)
    (folder / "main").write_text("#!/bin/sh\necho hello from $0; cat /fn/data; ls -l /fn\n")
    (folder / "main").chmod(0o4700)
    (folder / "data").write_text("data\n")
    (folder / "data").chmod(0o600)
    return folder


def new_owner() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


async def test_a_packaged_function_runs_as_any_user(
    client: aiodocker.Docker,
    cpp: Toolchain,
    run_in: RunIn,
    function: Path,
    disposable: Callable[[str], str],
) -> None:
    images = FunctionImages(client, new_owner(), 100 * MIB)
    held = await asyncio.gather(
        *(images.hold(str(cpp.run_image), "a" * 64, function) for _ in range(3))
    )
    image = disposable(held[0])
    assert set(held) == {image}
    code, said = await run_in(image, ["/fn/main"])
    assert (code, said.splitlines()[:2]) == (0, ["hello from /fn/main", "data"])
    assert "-rwxr-xr-x" in said
    assert "-rw-r--r--" in said
    stored = await engine.find(client, image)
    assert stored is not None
    assert stored["Config"]["Labels"]["hermes.artifact"] == "a" * 64


async def test_an_image_goes_with_its_last_use_and_comes_back_when_wanted(
    client: aiodocker.Docker,
    cpp: Toolchain,
    function: Path,
    disposable: Callable[[str], str],
) -> None:
    images = FunctionImages(client, new_owner(), 0)
    image = disposable(await images.hold(str(cpp.run_image), "b" * 64, function))
    # Somebody removes it under us.
    await client.images.delete(image)
    assert await images.hold(str(cpp.run_image), "b" * 64, function) == image
    await images.release(image)
    assert await engine.find(client, image) is not None
    await images.release(image)
    assert await engine.find(client, image) is None
    assert await engine.find(client, str(cpp.run_image)) is not None


async def test_an_image_stays_while_a_container_of_it_lives(
    client: aiodocker.Docker,
    cpp: Toolchain,
    function: Path,
    disposable: Callable[[str], str],
) -> None:
    images = FunctionImages(client, new_owner(), 0)
    image = disposable(await images.hold(str(cpp.run_image), "c" * 64, function, name="a/c:1"))
    container = await client.containers.create(
        {"Image": image, "Cmd": ["sleep", "60"], "Labels": {LABEL: "lives"}}
    )
    try:
        await container.start()
        await images.release(image)
        assert await engine.find(client, image) is not None
    finally:
        await container.delete(force=True)
    await images.forget("a/c:1")
    assert await engine.find(client, image) is None


async def test_what_a_killed_agent_left_is_taken_over(
    client: aiodocker.Docker,
    cpp: Toolchain,
    function: Path,
    disposable: Callable[[str], str],
) -> None:
    owner = new_owner()
    left = await FunctionImages(client, owner, 100 * MIB).hold(
        str(cpp.run_image), "d" * 64, function, name="a/d:1"
    )
    disposable(left)
    after = FunctionImages(client, owner, 100 * MIB)
    await after.reap()
    assert after.bytes > 0
    again = await after.hold(str(cpp.run_image), "d" * 64, function, name="a/d:1")
    assert again == left
    await after.release(left)
    await after.forget("a/d:1")
    assert await engine.find(client, left) is None
