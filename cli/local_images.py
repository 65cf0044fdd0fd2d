"""The toolchain images in the engine of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cli.local_server import server_code
from cli.problem import usage
from cli.session import Session
from cli.shapes import size_of


def build_toolchains(session: Session, names: Sequence[str], home: Path | None) -> None:
    """`hermes toolchain build`."""
    with server_code():
        from infra.engine import connect  # noqa: PLC0415
        from infra.supervisor.home import home_folder  # noqa: PLC0415
        from infra.toolchain.image_build import BuiltImage, build_images  # noqa: PLC0415
        from infra.toolchain.image_recipes import LANGUAGES  # noqa: PLC0415

        for name in names:
            if name not in LANGUAGES:
                raise usage(f"there is no toolchain {name!r}; there are {' and '.join(LANGUAGES)}")
        folder = home_folder(home).path

        async def build() -> list[BuiltImage]:
            async with await connect() as client:
                return await build_images(client, names, folder, session.out.note)

        images = asyncio.run(build())
    _show(session, [(image.name, image.digest, image.bytes) for image in images])


def list_toolchains(session: Session) -> None:
    """`hermes toolchain list`."""
    with server_code():
        from infra.engine import connect  # noqa: PLC0415
        from infra.images.engine import StoredImage  # noqa: PLC0415
        from infra.toolchain.image_recipes import CONTENTS_LABEL, RECIPES  # noqa: PLC0415
        from infra.toolchain.images import own_images  # noqa: PLC0415

        async def look() -> dict[str, StoredImage]:
            async with await connect() as client:
                return await own_images(client)

        images = asyncio.run(look())
    if not images and not session.json:
        session.out.note("there are none; build them with: hermes toolchain build")
    _show(
        session,
        [
            (name, images[name].labels.get(CONTENTS_LABEL, ""), images[name].size)
            for name in RECIPES
            if name in images
        ],
    )


def _show(session: Session, images: Sequence[tuple[str, str, int]]) -> None:
    if session.json:
        session.out.document(
            [{"name": name, "digest": digest, "bytes": size} for name, digest, size in images]
        )
    elif images:
        rows = [(name, digest, size_of(size)) for name, digest, size in images]
        session.out.rows(("NAME", "DIGEST", "SIZE"), rows)
