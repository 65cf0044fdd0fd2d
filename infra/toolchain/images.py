"""Toolchains that are images in the engine of this host: those Hermes built, or those named."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import aiodocker

from hermes.errors import InvalidConfig
from infra.images import engine
from infra.images.engine import StoredImage
from infra.images.errors import ImageFailed
from infra.toolchain.image_recipes import (
    CONTENTS_LABEL,
    LANGUAGES,
    NAME_LABEL,
    RECIPES,
    REPOSITORY,
    VERSION_LABEL,
)
from infra.toolchain.model import Toolchain, ToolchainMissing

#: What a program may be told by its image; NVIDIA_… and the like are for the engine.
_TOLD_BUILDS = ("PATH", "CUDA_HOME", "CUDA_PATH", "LIBRARY_PATH")
_TOLD_RUNS = ("LD_LIBRARY_PATH",)
#: Seconds that an answer holds: every run needs one, and the engine is slow to list.
AGE = 5.0


class ImageToolchains:
    """Implements `Toolchains`: finds the images, and asks the engine anew every few seconds.

    `overrides` names other images to use: by language ("cpp", "cuda"; to build in and, unless named
    too, to run in) or by "runtime" and "runtime-cuda". They are pulled if the engine lacks them.
    """

    in_images = True

    def __init__(
        self,
        client: aiodocker.Docker,
        overrides: Mapping[str, str] = {},
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if unknown := sorted(set(overrides) - set(RECIPES)):
            raise InvalidConfig(
                f"there is no toolchain image {unknown[0]!r}; there are {', '.join(RECIPES)}"
            )
        self._client = client
        self._overrides = dict(overrides)
        self._pulling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._clock = clock
        self._known: dict[str, tuple[float, Toolchain]] = {}

    async def require(self, language: str) -> Toolchain:
        """The toolchain for "cpp" or "cuda". Raises ToolchainMissing with what to do.

        May take as long as the engine pulls, where another image is named; else milliseconds.
        """
        now = self._clock()
        if language in self._known and now - self._known[language][0] < AGE:
            return self._known[language][1]
        toolchain = await self._look(language)
        self._known[language] = now, toolchain
        return toolchain

    async def _look(self, language: str) -> Toolchain:
        if language not in LANGUAGES:
            raise InvalidConfig(f"there is no language {language!r}; it must be cpp or cuda")
        try:
            if {language, _runtime_of(language)} & self._overrides.keys():
                return await self._from_named(language)
            return _own(language, await own_images(self._client))
        except ImageFailed as error:
            raise _missing(language, error.detail) from error

    async def available(self) -> list[Toolchain]:
        """The toolchains of all languages that this host has."""
        found = []
        for language in LANGUAGES:
            try:
                found.append(await self.require(language))
            except ToolchainMissing:
                continue
        return found

    async def _from_named(self, language: str) -> Toolchain:
        own = await own_images(self._client)
        build = await self._image(language, own)
        runs_in = _runtime_of(language)
        if runs_in in self._overrides or language not in self._overrides:
            run = await self._image(runs_in, own)
        else:
            run = build  # the libraries that a foreign compiler links are surely in its own image
        told = _environment(build)
        return Toolchain(
            name=language,
            version=_labels(build).get(VERSION_LABEL) or str(build["Id"])[7:19],
            digest=_digest(str(build["Id"]), _labels(build)),
            root=self._overrides.get(language, f"{REPOSITORY}/{language}"),
            env={name: told[name] for name in _TOLD_BUILDS if name in told},
            run_env={
                name: value for name, value in _environment(run).items() if name in _TOLD_RUNS
            },
            build_image=str(build["Id"]),
            run_image=str(run["Id"]),
        )

    async def _image(self, name: str, own: Mapping[str, StoredImage]) -> dict[str, Any]:
        reference = self._overrides.get(name)
        if reference is None:
            if name not in own:
                raise ImageFailed(f"the image {REPOSITORY}/{name} is not in the engine")
            reference = own[name].id
        if (found := await engine.find(self._client, reference)) is not None:
            return found
        async with self._pulling[reference]:
            if (found := await engine.find(self._client, reference)) is None:
                await engine.pull(self._client, reference)
                found = await engine.find(self._client, reference)
        if found is None:
            raise ImageFailed(f"the engine has no image {reference} after pulling it")
        return found


async def own_images(client: aiodocker.Docker) -> dict[str, StoredImage]:
    """The images that Hermes built and that are current, by name. Raises ImageFailed."""
    return {
        name: image
        for image in await engine.list_labelled(client, NAME_LABEL)
        if (name := image.labels[NAME_LABEL]) in RECIPES
        and f"{REPOSITORY}/{name}:latest" in image.tags
    }


def _own(language: str, images: Mapping[str, StoredImage]) -> Toolchain:
    build_in, run_in = LANGUAGES[language]
    for name in (build_in, run_in):
        if name not in images:
            raise _missing(language, f"the image {REPOSITORY}/{name} is not in the engine")
    build, run = images[build_in], images[run_in]
    run_env = dict(RECIPES[run_in].env)
    return Toolchain(
        name=language,
        version=build.labels.get(VERSION_LABEL, ""),
        digest=_digest(build.id, build.labels),
        root=f"{REPOSITORY}/{language}",
        env=dict(RECIPES[build_in].env),
        run_env={name: value for name, value in run_env.items() if name in _TOLD_RUNS},
        build_image=build.id,
        run_image=run.id,
    )


def _missing(language: str, reason: str) -> ToolchainMissing:
    return ToolchainMissing(language, reason, f"Build it with: hermes toolchain build {language}")


def _runtime_of(language: str) -> str:
    return LANGUAGES[language][1]


def _digest(identity: str, labels: Mapping[str, str]) -> str:
    return labels.get(CONTENTS_LABEL, identity).removeprefix("sha256:")


def _labels(image: Mapping[str, Any]) -> Mapping[str, str]:
    return (image.get("Config") or {}).get("Labels") or {}


def _environment(image: Mapping[str, Any]) -> dict[str, str]:
    settings = (image.get("Config") or {}).get("Env") or ()
    return dict(setting.split("=", 1) for setting in settings if "=" in setting)
