"""FakeImageEngine: keeps images as an engine does, in memory, and looks into what it is given."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiodocker.exceptions import DockerError


class FakeImageEngine:
    """What our code asks of an aiodocker client about images; `images` is itself."""

    def __init__(self) -> None:
        self.images = self
        self.stored: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, str] = {}
        self.layers: dict[str, bytes] = {}
        self.loads = 0
        self.pulls: list[str] = []
        #: What its registry holds: configurations of images, by reference.
        self.registry: dict[str, dict[str, Any]] = {}
        self.in_use: set[str] = set()
        #: It wants archives complete, whatever it has.
        self.picky = False
        #: Unset: it takes its time to remove an image.
        self.may_remove = asyncio.Event()
        self.may_remove.set()
        self.removals = 0
        #: It has no room for another image.
        self.full = False
        #: How often it was asked for an image's layers, which it does not give.
        self.exports = 0

    async def inspect(self, reference: str) -> dict[str, Any]:
        identity = self.tags.get(reference, reference)
        if identity not in self.stored:
            raise DockerError(404, f"no such image: {reference}")
        return self.stored[identity]

    async def list(self, *, filters: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        found = []
        for identity, image in self.stored.items():
            labels = image["Config"].get("Labels") or {}
            words = {*labels, *(f"{name}={value}" for name, value in labels.items())}
            if words.issuperset(filters["label"]):
                tags = [tag for tag, owner in self.tags.items() if owner == identity]
                found.append({"Id": identity, "RepoTags": tags, "Labels": labels, "Size": 1})
        return found

    async def import_image(self, data: AsyncIterator[bytes]) -> list[dict[str, str]]:
        archive = b"".join([chunk async for chunk in data])
        if self.full:
            raise DockerError(500, "no space left on device")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
        [manifest] = json.loads(files["manifest.json"])
        config = json.loads(files[manifest["Config"]])
        diff_ids = config["rootfs"]["diff_ids"]
        for diff_id, name in zip(diff_ids, manifest["Layers"], strict=True):
            if name in files:
                assert f"sha256:{hashlib.sha256(files[name]).hexdigest()}" == diff_id
                self.layers[diff_id] = files[name]
            elif self.picky or diff_id not in self.layers:
                raise DockerError(500, f"open {name}: no such file or directory")
        await asyncio.sleep(0)
        self.loads += 1
        identity = f"sha256:{hashlib.sha256(files[manifest['Config']]).hexdigest()}"
        self.keep(identity, config["config"], diff_ids)
        self.tags |= dict.fromkeys(manifest["RepoTags"], identity)
        return [{"stream": f"Loaded image ID: {identity}"}]

    def export_image(self, reference: str) -> Any:
        self.exports += 1
        raise DockerError(500, f"{reference} stays here")

    def keep(self, identity: str, config: Mapping[str, Any], diff_ids: list[str]) -> None:
        """Have an image."""
        self.stored[identity] = {
            "Id": identity,
            "Config": config,
            "RootFS": {"Layers": diff_ids},
            "Size": sum(len(self.layers.get(diff_id, b"")) for diff_id in diff_ids),
        }

    async def delete(self, reference: str) -> list[dict[str, str]]:
        self.removals += 1
        await self.may_remove.wait()
        identity = self.tags.pop(reference, reference)
        if identity in self.in_use:
            raise DockerError(409, "a container uses it")
        if identity not in self.stored:
            raise DockerError(404, "no such image")
        if reference == identity or identity not in self.tags.values():
            del self.stored[identity]
            self.tags = {tag: owner for tag, owner in self.tags.items() if owner != identity}
        return []

    async def pull(self, reference: str) -> list[dict[str, str]]:
        self.pulls.append(reference)
        await asyncio.sleep(0)
        if reference not in self.registry:
            raise DockerError(404, f"pull access denied for {reference}")
        identity = f"sha256:{hashlib.sha256(reference.encode()).hexdigest()}"
        self.keep(identity, self.registry[reference], [])
        self.tags[reference] = identity
        return []
