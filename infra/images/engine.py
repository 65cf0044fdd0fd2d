"""Images in the engine of this host: load, look up by label, tag, remove."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import aiodocker
import aiohttp
import msgspec
from aiodocker.exceptions import DockerError

from infra.images.archive import Image, write_archive
from infra.images.errors import ImageFailed
from infra.images.export import export_layers
from infra.images.threads import in_thread

_CHUNK = 1 << 20
# Seconds for an answer of an engine that is slow, not dead.
_PATIENCE = 15.0
_LOAD_PATIENCE = 300.0
_EXPORT_PATIENCE = 300.0
_PULL_PATIENCE = 1800.0
# How engines say that an archive lacks a layer which they want, whatever they have.
_LACKING = re.compile(r"no such file|not found|does not exist", re.IGNORECASE)


class StoredImage(msgspec.Struct, frozen=True):
    """An image that the engine has. `size` counts the layers that it shares with others too."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    size: int


async def load(
    client: aiodocker.Docker,
    image: Image,
    *,
    tags: Collection[str] = (),
    known: Collection[str] = (),
    base: str | None = None,
    scratch: Path | None = None,
) -> str:
    """Give `image` to the engine and return its id there.

    Layers whose diff ids are `known` are left out: the engine has them below the same layers. Some
    engines want all the same; for them the layers that have no file are fetched from the image
    `base`, whose layers are the lowest of this. `scratch` is the folder for archives. Raises
    ImageFailed.
    """
    try:
        return await _load(client, image, tags, known, scratch)
    except ImageFailed as error:
        if base is None or not known or not _LACKING.search(error.detail or ""):
            raise
        if (below := await find(client, base)) is None:
            raise
    with tempfile.TemporaryDirectory(dir=scratch, prefix="hermes-export-") as folder:
        wanted = [str(layer) for layer in below["RootFS"]["Layers"]]
        async with _asking("does not give its layers back", _EXPORT_PATIENCE):
            exported = await export_layers(client, base, wanted, Path(folder))
        layers = tuple(
            layer if layer.path else exported.get(layer.diff_id, layer) for layer in image.layers
        )
        complete = msgspec.structs.replace(image, layers=layers)
        return await _load(client, complete, tags, (), scratch)


async def _load(
    client: aiodocker.Docker,
    image: Image,
    tags: Collection[str],
    known: Collection[str],
    scratch: Path | None,
) -> str:
    with tempfile.TemporaryFile(dir=scratch) as file:
        try:
            await in_thread(write_archive, image, file, tags=tags, known=known)
        except OSError as error:
            raise ImageFailed(f"the image cannot be packed: {error}") from error
        async with _asking("did not take the image", _LOAD_PATIENCE):
            said = await client.images.import_image(_content(file))
    stored = await find(client, image.id)
    for tag in () if stored else tags:  # engines that name images by other digests
        stored = stored or await find(client, tag)
    if stored is None:
        words = " ".join(str(line.get("stream", line)).strip() for line in said)
        raise ImageFailed(f"the engine has no such image after loading it: {words}")
    return str(stored["Id"])


async def find(client: aiodocker.Docker, reference: str) -> dict[str, Any] | None:
    """All the engine says of an image (`docker image inspect`), or None. Raises ImageFailed."""
    async with _asking(f"cannot look at {reference}"):
        try:
            return await client.images.inspect(reference)
        except DockerError as error:
            if error.status == 404:
                return None
            raise


async def list_labelled(client: aiodocker.Docker, *labels: str) -> list[StoredImage]:
    """The images with all of these labels ("name" or "name=value"). Raises ImageFailed."""
    async with _asking("does not list its images"):
        found = await client.images.list(filters={"label": list(labels)})
    return [
        StoredImage(
            id=str(entry["Id"]),
            tags=tuple(tag for tag in entry.get("RepoTags") or () if tag != "<none>:<none>"),
            labels=entry.get("Labels") or {},
            size=int(entry.get("Size", 0)),
        )
        for entry in found
    ]


async def remove(client: aiodocker.Docker, reference: str) -> bool:
    """Remove an image or one of its tags; False if a container uses it. Raises ImageFailed."""
    async with _asking(f"keeps {reference}"):
        try:
            await client.images.delete(reference)
        except DockerError as error:
            if error.status == 409:
                return False
            if error.status != 404:
                raise
    return True


async def pull(client: aiodocker.Docker, reference: str) -> None:
    """Have the engine fetch an image from its registry. Raises ImageFailed."""
    async with _asking(f"cannot pull {reference}", _PULL_PATIENCE):
        await client.images.pull(reference)


@asynccontextmanager
async def _asking(what: str, patience: float | None = None) -> AsyncIterator[None]:
    """Bounds a question to the engine, whose client would wait for ever. `what` is the failure."""
    patience = _PATIENCE if patience is None else patience
    try:
        async with asyncio.timeout(patience):
            yield
    except TimeoutError as error:
        raise ImageFailed(f"the engine {what}: no answer within {patience:.0f} s") from error
    except (DockerError, aiohttp.ClientError, OSError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise ImageFailed(f"the engine {what}: {reason}") from error


async def _content(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await in_thread(file.read, _CHUNK):
        yield chunk
