"""Functions as images: built once, never removed while held, within the disk budget."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

import pytest

from infra.sandbox.docker.function_images import FunctionImages
from infra.sandbox.port import SandboxError
from tests.support.fake_image_engine import FakeImageEngine

BASE = "sha256:base"
#: The size of a layer with one small file: tars are padded.
LAYER = 10_240


@pytest.fixture
def engine() -> FakeImageEngine:
    fake = FakeImageEngine()
    fake.layers["sha256:lower"] = b"lower"
    fake.keep(BASE, {"Env": ["PATH=/bin"], "WorkingDir": "/work"}, ["sha256:lower"])
    return fake


@pytest.fixture
def function(tmp_path: Path) -> Path:
    folder = tmp_path / "function"
    folder.mkdir()
    (folder / "main").write_text("#!/bin/sh\n")
    (folder / "main").chmod(0o4755)
    return folder


def cache(engine: FakeImageEngine, budget: int = 10 * LAYER, owner: str = "me") -> FunctionImages:
    return FunctionImages(engine, owner, budget)  # type: ignore[arg-type]


async def test_a_function_lies_at_fn_on_the_base_without_set_user_bits(
    engine: FakeImageEngine, function: Path
) -> None:
    image = await engine.inspect(await cache(engine).hold(BASE, "a" * 64, function))
    lower, upper = image["RootFS"]["Layers"]
    assert lower == "sha256:lower"
    with tarfile.open(fileobj=io.BytesIO(engine.layers[upper])) as tar:
        assert [(info.name, info.mode) for info in tar] == [("fn", 0o755), ("fn/main", 0o755)]
    assert image["Config"]["Labels"]["hermes.artifact"] == "a" * 64
    assert image["Config"]["Labels"]["hermes.owner"] == "me"
    assert image["Config"]["Env"] == ["PATH=/bin"]


async def test_all_who_ask_at_once_get_one_image(engine: FakeImageEngine, function: Path) -> None:
    images = cache(engine)
    held = await asyncio.gather(*(images.hold(BASE, "a", function) for _ in range(10)))
    assert len(set(held)) == 1
    assert engine.loads == 1


async def test_the_least_recently_used_goes_when_the_budget_is_spent(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine, budget=2 * LAYER)
    held = {}
    for artifact in ("a", "b"):
        held[artifact] = await images.hold(BASE, artifact, function)
        await images.release(held[artifact])
    await images.release(await images.hold(BASE, "a", function))
    await images.hold(BASE, "c", function)
    assert held["a"] in engine.stored
    assert held["b"] not in engine.stored
    assert images.bytes == 2 * LAYER


async def test_what_is_held_stays_beyond_the_budget_until_it_is_released(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine, budget=0)
    held = [await images.hold(BASE, "a", function) for _ in range(2)]
    await images.release(held[0])
    assert held[0] in engine.stored
    await images.release(held[0])
    assert held[0] not in engine.stored
    assert images.bytes == 0


async def test_an_image_that_a_container_still_uses_is_tried_again_later(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine, budget=0)
    held = await images.hold(BASE, "a", function)
    engine.in_use.add(held)
    await images.release(held)
    assert held in engine.stored
    engine.in_use.clear()
    await images.release(await images.hold(BASE, "b", function))
    assert held not in engine.stored


async def test_a_hold_that_is_cancelled_while_others_are_removed_counts_for_nothing(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine, budget=0)
    left = await images.hold(BASE, "a", function)
    engine.in_use.add(left)
    await images.release(left)
    engine.in_use.clear()
    engine.may_remove.clear()
    before = engine.removals
    holding = asyncio.create_task(images.hold(BASE, "b", function))
    async with asyncio.timeout(5):
        while engine.removals == before:
            await asyncio.sleep(0)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    engine.may_remove.set()
    await images.release("nothing")
    assert list(engine.stored) == [BASE]


async def test_an_image_that_somebody_removed_is_made_again(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine)
    held = await images.hold(BASE, "a", function)
    await engine.delete(held)
    assert await images.hold(BASE, "a", function) == held
    assert held in engine.stored


async def test_a_deleted_functions_image_goes_when_nobody_holds_it(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine)
    released = await images.hold(BASE, "a", function, name="ana/cat:1")
    await images.release(released)
    held = [await images.hold(BASE, "b", function, name="ana/dog:1") for _ in range(2)]
    for name in ("ana/cat:1", "ana/dog:1"):
        await images.forget(name)
    assert released not in engine.stored
    await images.release(held[0])
    assert held[0] in engine.stored
    await images.release(held[0])
    assert held[0] not in engine.stored


async def test_an_image_stays_while_another_version_has_the_same_files(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine)
    for name in ("ana/cat:1", "ana/cat:2"):
        image = await images.hold(BASE, "a", function, name=name)
        await images.release(image)
    await images.forget("ana/cat:1")
    assert image in engine.stored
    await images.forget("ana/cat:2")
    assert image not in engine.stored


async def test_a_new_incarnation_takes_over_what_the_last_one_left(
    engine: FakeImageEngine, function: Path
) -> None:
    left = await cache(engine).hold(BASE, "a", function)
    others = await cache(engine, owner="other").hold(BASE, "a", function)
    after = cache(engine, budget=LAYER)
    await after.reap()
    assert after.bytes == LAYER
    loads = engine.loads
    assert await after.hold(BASE, "a", function) == left
    assert engine.loads == loads
    await after.release(left)
    await after.hold(BASE, "b", function)
    assert left not in engine.stored
    assert others in engine.stored


async def test_a_new_incarnation_knows_whose_the_images_are(
    engine: FakeImageEngine, function: Path
) -> None:
    left = await cache(engine).hold(BASE, "a", function, name="ana/cat:1")
    after = cache(engine)
    await after.reap()
    await after.forget("ana/dog:1")
    assert left in engine.stored
    await after.forget("ana/cat:1")
    assert left not in engine.stored


async def test_a_missing_base_is_an_error_of_the_sandbox(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine)
    with pytest.raises(SandboxError, match="sha256:none"):
        await images.hold("sha256:none", "a", function)
    assert images.bytes == 0


async def test_an_unreadable_folder_is_an_error_and_leaves_nothing(
    engine: FakeImageEngine, function: Path
) -> None:
    images = cache(engine)
    with pytest.raises(SandboxError):
        await images.hold(BASE, "a", function / "missing")
    assert list(engine.stored) == [BASE]
