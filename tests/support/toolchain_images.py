"""The toolchain images for tests that need an engine: built once, kept in the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

from infra.engine import connect
from infra.toolchain.image_build import build_images
from infra.toolchain.images import ImageToolchains
from infra.toolchain.model import Toolchain, ToolchainMissing

#: CUDA's toolkit and scratch files lie there between runs of the tests.
HOME = Path("/var/tmp/hermes-test-toolchains")


async def ensure_toolchain_images(language: str = "cpp") -> Toolchain:
    """The toolchain as images in this host's engine, built if they are not there at all.

    Whether they are up to date does not matter here: looking that up takes seconds.
    """
    async with await connect() as client:
        toolchains = ImageToolchains(client)
        try:
            return await toolchains.require(language)
        except ToolchainMissing:
            await build_images(client, [language], HOME, print)
            return await toolchains.require(language)


def toolchain_images(language: str = "cpp") -> Toolchain:
    """As `ensure_toolchain_images`, for fixtures without an event loop."""
    return asyncio.run(ensure_toolchain_images(language))
