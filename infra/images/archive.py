"""An image as an engine loads it: a docker-archive, with or without the layers it has already."""

from __future__ import annotations

import hashlib
import io
import platform
import tarfile
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from infra.images.layers import Layer
from infra.images.rootfs import EPOCH

_CREATED = datetime.fromtimestamp(EPOCH, UTC).isoformat().replace("+00:00", "Z")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image: what lies in it, lowest first, and what containers of it are told."""

    layers: tuple[Layer, ...]
    env: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    #: What a container runs if it is not told.
    command: tuple[str, ...] = ()
    folder: str = "/"
    #: "user:group" of a container that is not told; "" is root.
    user: str = ""

    @property
    def id(self) -> str:
        """The image's id, in every engine: the digest of its configuration."""
        return f"sha256:{hashlib.sha256(self.configuration()).hexdigest()}"

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(layer.size for layer in self.layers)

    def configuration(self) -> bytes:
        """The image's configuration, the same bytes for the same image."""
        config = {
            "Cmd": list(self.command) or None,
            "Env": [f"{name}={value}" for name, value in sorted(self.env.items())],
            "Labels": dict(sorted(self.labels.items())),
            "User": self.user,
            "WorkingDir": self.folder,
        }
        document = {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "config": config,
            "created": _CREATED,
            "history": [{"created": _CREATED, "created_by": "hermes"} for _ in self.layers],
            "os": "linux",
            "rootfs": {"diff_ids": [layer.diff_id for layer in self.layers], "type": "layers"},
        }
        return msgspec.json.encode(document, order="sorted")


def contents_digest(layers: Iterable[Layer], facts: Mapping[str, str]) -> str:
    """ "sha256:…" over layers and what else makes an image what it is."""
    total = hashlib.sha256()
    for layer in layers:
        total.update(f"{layer.diff_id}\n".encode())
    total.update(msgspec.json.encode(dict(facts), order="sorted"))
    return f"sha256:{total.hexdigest()}"


def write_archive(
    image: Image, file: BinaryIO, *, tags: Iterable[str] = (), known: Collection[str] = ()
) -> None:
    """Write `image` for `POST /images/load`, without the layers whose diff ids are `known`.

    An engine takes a layer that it has under the same layers from its own store, and never opens
    its file. Raises OSError.
    """
    config_name = f"{image.id.removeprefix('sha256:')}.json"
    names = [f"{layer.diff_id.removeprefix('sha256:')}.tar" for layer in image.layers]
    manifest = [{"Config": config_name, "RepoTags": list(tags), "Layers": names}]
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "manifest.json", msgspec.json.encode(manifest))
        _add(tar, config_name, image.configuration())
        written: set[str] = set()
        for layer, name in zip(image.layers, names, strict=True):
            if layer.path is None or layer.diff_id in known or name in written:
                continue
            written.add(name)
            info = tarfile.TarInfo(name)
            info.size = layer.size
            with layer.path.open("rb") as content:
                tar.addfile(info, content)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
