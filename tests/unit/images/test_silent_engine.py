"""An engine that accepts connections and says nothing makes nobody wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiodocker
import pytest

from infra.images import engine
from infra.images.archive import Image
from infra.images.errors import ImageFailed
from infra.toolchain.images import ImageToolchains
from infra.toolchain.model import ToolchainMissing


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
    for name in ("_PATIENCE", "_LOAD_PATIENCE", "_PULL_PATIENCE"):
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


async def test_an_attempt_hears_that_the_toolchain_cannot_be_looked_up(
    client: aiodocker.Docker,
) -> None:
    async with asyncio.timeout(5):
        with pytest.raises((ImageFailed, ToolchainMissing), match="no answer within"):
            await ImageToolchains(client).require("cpp")
