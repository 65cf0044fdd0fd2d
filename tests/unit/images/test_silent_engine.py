"""An engine that accepts connections and says nothing makes nobody wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from infra.images import engine
from infra.images.archive import Image
from infra.images.errors import ImageFailed
from infra.images.layers import Layer
from infra.toolchain.images import ImageToolchains
from infra.toolchain.model import ToolchainMissing
from tests.support.fake_image_engine import FakeImageEngine


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[aiodocker.Docker]:
    ended = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_unix_server(say_nothing, str(tmp_path / "engine"))
    # With a version given, the client does not ask for it.
    async with aiodocker.Docker(url=f"unix://{tmp_path}/engine", api_version="v1.41") as connected:
        yield connected
    ended.set()
    server.close()
    await server.wait_closed()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PATIENCE", "_LOAD_PATIENCE", "_EXPORT_PATIENCE", "_PULL_PATIENCE"):
        assert hasattr(engine, name)
        monkeypatch.setattr(engine, name, 0.05)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: engine.find(client, "sha256:abc"),
        lambda client: engine.list_labelled(client, "hermes.owner=me"),
        lambda client: engine.remove(client, "sha256:abc"),
        lambda client: engine.load(client, Image(layers=())),
        lambda client: engine.pull(client, "name:tag"),
    ],
    ids=["find", "list", "remove", "load", "pull"],
)
async def test_every_question_has_its_end(
    client: aiodocker.Docker, ask: Callable[[aiodocker.Docker], Awaitable[object]]
) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(ImageFailed, match="no answer within"):
            await ask(client)


class FakeEngineThatKeepsLayers(FakeImageEngine):
    """Wants archives complete, and says nothing when asked for what they lack."""

    @asynccontextmanager
    async def export_image(self, reference: str) -> AsyncIterator[object]:
        await asyncio.Event().wait()
        yield object()


async def test_layers_are_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LOAD_PATIENCE", 5.0)  # it does answer that
    client: Any = FakeEngineThatKeepsLayers()
    client.picky = True
    client.keep("sha256:base", {}, ["sha256:lower"])
    image = Image(layers=(Layer(diff_id="sha256:lower", size=0),))
    async with asyncio.timeout(10):
        with pytest.raises(ImageFailed, match="its layers back: no answer within"):
            await engine.load(
                client, image, known=("sha256:lower",), base="sha256:base", scratch=tmp_path
            )
    assert list(tmp_path.iterdir()) == []


async def test_an_attempt_hears_that_the_toolchain_cannot_be_looked_up(
    client: aiodocker.Docker,
) -> None:
    async with asyncio.timeout(5):
        with pytest.raises((ImageFailed, ToolchainMissing), match="no answer within"):
            await ImageToolchains(client).require("cpp")
