"""Functions as images: the toolchain's runtime and one layer with the artifact's files at /fn.

Made on the host that runs them, from the artifact's folder, once per artifact and runtime. They are
a cache: any of them may go at any time that no container needs it, and is made again.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiodocker
import msgspec

from infra.images import engine
from infra.images.archive import Image
from infra.images.errors import ImageFailed
from infra.images.layers import Layer, pack_folder, unpackable
from infra.images.threads import in_thread
from infra.sandbox.port import SandboxError

PLACE = "/fn"
OWNER_LABEL = "hermes.owner"
ARTIFACT_LABEL = "hermes.artifact"
_BASE_LABEL = "hermes.base"
_FUNCTION_LABEL = "hermes.function"
_BYTES_LABEL = "hermes.bytes"
_REPOSITORY = "hermes-function"

#: The id of the image below and the artifact's SHA-256.
_Key = tuple[str, str]


class _Entry(msgspec.Struct):
    """An image that we believe the engine has."""

    id: str
    #: What it alone takes on the disk: its one layer.
    bytes: int
    #: The functions with these files. Without any it goes when nobody holds it any more.
    functions: set[str]
    holders: int = 0


class FunctionImages:
    """The function images of one owner (an agent), within `budget` bytes of disk.

    What is held does not go even beyond the budget; of the rest the least recently used goes first.
    `scratch` is the folder for temporary files.
    """

    def __init__(
        self, client: aiodocker.Docker, owner: str, budget: int, *, scratch: Path | None = None
    ) -> None:
        self._client = client
        self._owner = owner
        self._budget = budget
        self._scratch = scratch
        # Least recently used first.
        self._entries: dict[_Key, _Entry] = {}
        self._locks: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def hold(self, base: str, artifact: str, folder: Path, *, name: str = "") -> str | None:
        """The id of the image with `folder`, the files of `artifact`, on the image `base`.

        `name` is that of the function ("owner/name:version").

        Builds it if the engine lacks it, once for all who ask at the same time. It stays until
        `release` was called as often as this. None, and nothing to release, if these files cannot
        lie in an image. Raises SandboxError.
        """
        key = (base, artifact)
        try:
            async with self._locks[key]:
                entry = self._entries.get(key)
                if entry is None or await engine.find(self._client, entry.id) is None:
                    if await in_thread(unpackable, folder):
                        return None
                    built = await self._build(key, folder, name)
                    entry = self._entries.setdefault(key, built)
                    entry.id = built.id
                entry.holders += 1
                entry.functions.add(name)
                self._entries[key] = self._entries.pop(key)  # the most recently used
        except (ImageFailed, OSError) as error:
            raise SandboxError(f"the function cannot be packaged as an image: {error}") from error
        try:
            await self._tidy()
        except BaseException:  # cancelled: nobody is going to release it
            entry.holders -= 1
            raise
        return entry.id

    async def release(self, image: str) -> None:
        """End one `hold`. An image that is not held and no longer wanted goes now or later."""
        for entry in self._entries.values():
            if entry.id == image and entry.holders > 0:
                entry.holders -= 1
        await self._tidy()

    async def forget(self, name: str) -> None:
        """The function is deleted: its images go, those held when released."""
        for entry in self._entries.values():
            entry.functions.discard(name)
        await self._tidy()

    async def reap(self) -> None:
        """Take over the images that an earlier incarnation of this owner left. Call at start.

        Raises SandboxError.
        """
        try:
            found = await engine.list_labelled(self._client, f"{OWNER_LABEL}={self._owner}")
        except ImageFailed as error:
            raise SandboxError(f"the images of functions cannot be listed: {error}") from error
        for image in found:
            artifact, base = image.labels.get(ARTIFACT_LABEL), image.labels.get(_BASE_LABEL)
            if artifact and base:
                size = int(image.labels.get(_BYTES_LABEL, image.size))
                functions = {image.labels.get(_FUNCTION_LABEL, "")}
                entry = _Entry(id=image.id, bytes=size, functions=functions)
                self._entries.setdefault((base, artifact), entry)
        await self._tidy()

    @property
    def bytes(self) -> int:
        """What all images take on the disk, without the runtimes below them."""
        return sum(entry.bytes for entry in self._entries.values())

    async def _build(self, key: _Key, folder: Path, name: str) -> _Entry:
        base, artifact = key
        below = await engine.find(self._client, base)
        if below is None:
            raise ImageFailed(f"the image below it, {base}, is not in the engine")
        layers = tuple(Layer(diff_id=str(each), size=0) for each in below["RootFS"]["Layers"])
        config: Mapping[str, Any] = below.get("Config") or {}
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="hermes-image-") as scratch:
            # What may be executed stays so, and nothing else of a mode: no set-user bit either.
            layer = await in_thread(
                pack_folder, folder, Path(scratch, "layer.tar"), at=PLACE, plain=True
            )
            image = Image(
                layers=(*layers, layer),
                env=dict(setting.split("=", 1) for setting in config.get("Env") or ()),
                labels={
                    ARTIFACT_LABEL: artifact,
                    OWNER_LABEL: self._owner,
                    _BASE_LABEL: base,
                    _FUNCTION_LABEL: name,
                    _BYTES_LABEL: str(layer.size),
                },
                command=tuple(config.get("Cmd") or ()),
                folder=str(config.get("WorkingDir") or "/"),
                user=str(config.get("User") or ""),
            )
            # With a tag, as engines are asked to prune what has none.
            tag = f"{_REPOSITORY}:{artifact[:12]}-{self._tag(key)}"
            known = {layer.diff_id for layer in layers}
            identity = await engine.load(
                self._client, image, tags=(tag,), known=known, base=base, scratch=Path(scratch)
            )
        return _Entry(id=identity, bytes=layer.size, functions={name})

    def _tag(self, key: _Key) -> str:
        return hashlib.sha256("\0".join((self._owner, *key)).encode()).hexdigest()[:12]

    async def _tidy(self) -> None:
        """As `_evict`, for callers who are not to fail because of it."""
        try:
            await self._evict()
        except ImageFailed:
            return  # the image stays known, and the next call tries again

    async def _evict(self) -> None:
        """Remove what is forgotten, and more until the rest fits. Raises ImageFailed."""
        for key in list(self._entries):
            if not self._superfluous(key):
                continue
            async with self._locks[key]:
                # Somebody may have held it while we waited for the lock.
                if self._superfluous(key) and await engine.remove(
                    self._client, self._entries[key].id
                ):
                    del self._entries[key]

    def _superfluous(self, key: _Key) -> bool:
        entry = self._entries.get(key)
        if entry is None or entry.holders > 0:
            return False
        return not entry.functions or self.bytes > self._budget
