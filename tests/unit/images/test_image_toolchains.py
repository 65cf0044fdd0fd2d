"""Toolchains as images: found, missing, or named by the operator."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hermes.errors import InvalidConfig
from infra.toolchain.images import AGE, ImageToolchains
from infra.toolchain.model import ToolchainMissing
from tests.support.fake_image_engine import FakeImageEngine

CUDA_IMAGE = {
    "Env": [
        "PATH=/usr/local/cuda/bin:/usr/bin",
        "LD_LIBRARY_PATH=/usr/local/cuda/lib64",
        "NVIDIA_VISIBLE_DEVICES=all",
    ]
}


@pytest.fixture
def engine() -> FakeImageEngine:
    return FakeImageEngine()


def toolchains(
    engine: FakeImageEngine, overrides: dict[str, str] | None = None, **more: Any
) -> ImageToolchains:
    return ImageToolchains(engine, overrides or {}, **more)  # type: ignore[arg-type]


def have(engine: FakeImageEngine, name: str, identity: str, **labels: Any) -> None:
    own = {"hermes.toolchain": name, "hermes.version": "12.2.0", "hermes.contents": "sha256:ab"}
    engine.keep(identity, {"Labels": own | labels}, [])
    engine.tags[f"hermes-toolchain/{name}:latest"] = identity


async def test_a_toolchain_is_an_image_to_build_in_and_one_to_run_in(
    engine: FakeImageEngine,
) -> None:
    have(engine, "cpp", "sha256:build")
    have(engine, "runtime", "sha256:run")
    found = await toolchains(engine).require("cpp")
    assert (found.build_image, found.run_image) == ("sha256:build", "sha256:run")
    assert (found.name, found.version, found.digest) == ("cpp", "12.2.0", "ab")
    assert found.env["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert [each.name for each in await toolchains(engine).available()] == ["cpp"]


async def test_a_missing_image_is_reported_with_the_command_that_builds_it(
    engine: FakeImageEngine,
) -> None:
    have(engine, "cpp", "sha256:build")
    with pytest.raises(ToolchainMissing, match="hermes toolchain build cpp") as caught:
        await toolchains(engine).require("cpp")
    assert caught.value.language == "cpp"
    assert "hermes-toolchain/runtime" in caught.value.reason


async def test_an_image_rebuilt_or_removed_meanwhile_is_noticed(engine: FakeImageEngine) -> None:
    have(engine, "cpp", "sha256:build")
    have(engine, "runtime", "sha256:run")
    now = [0.0]
    looking = toolchains(engine, clock=lambda: now[0])
    await looking.require("cpp")
    have(engine, "cpp", "sha256:newer")
    assert (await looking.require("cpp")).build_image == "sha256:build"  # not asked every time
    now[0] += AGE
    assert (await looking.require("cpp")).build_image == "sha256:newer"
    await engine.delete("sha256:run")
    now[0] += AGE
    with pytest.raises(ToolchainMissing):
        await looking.require("cpp")


async def test_cuda_programs_are_told_where_its_libraries_are(engine: FakeImageEngine) -> None:
    have(engine, "cuda", "sha256:build")
    have(engine, "runtime-cuda", "sha256:run")
    found = await toolchains(engine).require("cuda")
    assert found.env["CUDA_HOME"] == "/opt/cuda"
    assert found.run_env == {"LD_LIBRARY_PATH": "/opt/cuda/lib64"}


async def test_a_named_image_is_pulled_once_and_runs_what_it_built(
    engine: FakeImageEngine,
) -> None:
    engine.registry["vendor.test/cuda:13"] = CUDA_IMAGE
    looking = toolchains(engine, {"cuda": "vendor.test/cuda:13"})
    found, again = await asyncio.gather(looking.require("cuda"), looking.require("cuda"))
    assert engine.pulls == ["vendor.test/cuda:13"]
    assert found == again
    assert found.run_image == found.build_image
    assert found.env == {"PATH": "/usr/local/cuda/bin:/usr/bin"}
    assert found.run_env == {"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}


async def test_the_image_to_run_in_may_be_named_too(engine: FakeImageEngine) -> None:
    engine.registry |= {"vendor.test/devel": CUDA_IMAGE, "vendor.test/runtime": {"Env": ["A=b"]}}
    named = {"cuda": "vendor.test/devel", "runtime-cuda": "vendor.test/runtime"}
    found = await toolchains(engine, named).require("cuda")
    assert found.run_image != found.build_image
    assert found.run_env == {}


async def test_an_image_that_cannot_be_pulled_is_named(engine: FakeImageEngine) -> None:
    with pytest.raises(ToolchainMissing, match=r"cannot pull vendor\.test/none: pull access"):
        await toolchains(engine, {"cpp": "vendor.test/none"}).require("cpp")


async def test_an_image_for_an_unknown_toolchain_is_refused(engine: FakeImageEngine) -> None:
    with pytest.raises(InvalidConfig, match="'rust'"):
        toolchains(engine, {"rust": "vendor.test/rust"})
    with pytest.raises(InvalidConfig, match="'rust'"):
        await toolchains(engine).require("rust")
