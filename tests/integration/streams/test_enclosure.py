"""Which sandbox an agent takes, by what is there and what its operator asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hermes.errors import InvalidRequest
from hermes.settings import Settings
from infra.engine import EngineUnavailable
from infra.sandbox.port import SandboxError
from infra.toolchain import ToolchainMissing
from streams.agent.enclosure import enclose
from tests.support.engine import needs_engine
from tests.support.toolchain_images import ensure_toolchain_images


def keep(artifact: str) -> Callable[[], None]:
    return lambda: None


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")


def settings(home: Path, sandbox: str, **others: object) -> Settings:
    return Settings(home=home, agent="chooser", sandbox=sandbox, **others)  # type: ignore[arg-type]


async def test_without_an_engine_it_is_bubblewrap(
    no_engine: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enclosure = await enclose(settings(tmp_path, "auto"), keep)
    await enclosure.close()
    assert enclosure.name == "bubblewrap"
    assert not enclosure.toolchains.in_images
    assert "there is no engine at" in caplog.text


async def test_an_operator_who_asked_for_docker_never_gets_less(
    no_engine: None, tmp_path: Path
) -> None:
    with pytest.raises(EngineUnavailable, match="there is no engine at"):
        await enclose(settings(tmp_path, "docker"), keep)


async def test_an_unknown_sandbox_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="auto, docker, bubblewrap"):
        await enclose(settings(tmp_path, "none"), keep)


@needs_engine
async def test_an_engine_with_images_is_taken(tmp_path: Path) -> None:
    images = await ensure_toolchain_images()
    left = tmp_path / "agents" / "chooser" / "images" / "half-packed"
    left.mkdir(parents=True)
    enclosure = await enclose(settings(tmp_path, "auto"), keep)
    found = await enclosure.toolchains.require("cpp")
    await enclosure.close()
    assert enclosure.name == "docker"
    assert (found.build_image, found.run_image) == (images.build_image, images.run_image)
    assert not left.exists(), "an agent that was killed has left it"


@needs_engine
async def test_a_runtime_that_cannot_run_anything_is_refused_at_the_start(tmp_path: Path) -> None:
    await ensure_toolchain_images()
    with pytest.raises(SandboxError, match="no-such-runtime"):
        await enclose(settings(tmp_path, "docker", container_runtime="no-such-runtime"), keep)


@needs_engine
async def test_images_that_an_operator_named_and_nobody_has_are_said_to_be_missing(
    tmp_path: Path,
) -> None:
    named = {"cpp": "hermes-test/no-such-image:1"}
    with pytest.raises(ToolchainMissing, match="hermes-test/no-such-image"):
        await enclose(settings(tmp_path, "docker", toolchain_images=named), keep)
