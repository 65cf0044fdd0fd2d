"""Gets the layers of an image back from the engine, for engines that want an archive complete."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerError

from infra.images.errors import ImageFailed
from infra.images.layers import Layer
from infra.images.threads import in_thread

_CHUNK = 1 << 20


async def export_layers(
    client: aiodocker.Docker, reference: str, diff_ids: Sequence[str], folder: Path
) -> dict[str, Layer]:
    """The layers of the image `reference`, which are `diff_ids`, as files below `folder`.

    Takes as long as the engine reads the image: seconds, or for ever if it is silent. Raises
    ImageFailed.
    """
    saved = folder / "export.tar"
    try:
        async with client.images.export_image(reference) as content:
            with saved.open("wb") as file:
                async for chunk in content.iter_chunked(_CHUNK):
                    await in_thread(file.write, chunk)
        files = await in_thread(_unpack, saved, folder)
    except (DockerError, aiohttp.ClientError, tarfile.TarError, LookupError, OSError) as error:
        raise ImageFailed(f"the engine does not give {reference} back: {error}") from error
    finally:
        saved.unlink(missing_ok=True)
    if len(files) != len(diff_ids):
        raise ImageFailed(f"the engine gave {len(files)} of {len(diff_ids)} layers of {reference}")
    return {
        diff_id: Layer(diff_id=diff_id, size=path.stat().st_size, path=path)
        for diff_id, path in zip(diff_ids, files, strict=True)
    }


def _unpack(saved: Path, folder: Path) -> list[Path]:
    """The layers in an export, lowest first; possibly compressed, which engines take as well."""
    files = []
    with tarfile.open(saved) as tar:
        manifest = json.loads(_read(tar, "manifest.json"))
        for number, name in enumerate(manifest[0]["Layers"]):
            target = folder / f"exported-{number}.tar"
            member = tar.extractfile(name)
            if member is None:
                raise KeyError(name)
            with member, target.open("wb") as file:
                shutil.copyfileobj(member, file, _CHUNK)
            files.append(target)
    return files


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(name)
    with member:
        return member.read()
