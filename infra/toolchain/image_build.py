"""Builds the toolchain images from the host's packages and loads them into its engine."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiodocker
import msgspec

from infra.images import engine
from infra.images.apt import AptSources, host_sources, planned
from infra.images.archive import Image, contents_digest
from infra.images.errors import ImageFailed
from infra.images.layers import Layer, pack_folder
from infra.images.rootfs import install_rootfs
from infra.images.threads import in_thread
from infra.sandbox.skeleton import ETC_FILES
from infra.toolchain.cuda import SANDBOX_ROOT
from infra.toolchain.cuda_install import REQUIREMENTS, install_cuda, pinned_packages
from infra.toolchain.image_recipes import (
    CONTENTS_LABEL,
    NAME_LABEL,
    RECIPE_LABEL,
    RECIPES,
    REPOSITORY,
    RULES,
    VERSION_LABEL,
    Recipe,
    commands_of,
    in_order,
    packages_of,
)

Progress = Callable[[str], None]

#: What a sandbox does not show: state of a system that never runs here.
_NOT_SHOWN = ("boot", "home", "media", "mnt", "opt", "root", "srv", "var", "usr/share/bug")
_KEPT_OF_ETC = frozenset({"ld.so.cache", "ld.so.conf", "ld.so.conf.d"})
_MOUNT_POINTS = ("fn", "work")
#: What pip notes beside each package: different from one pip to the next, and of no use there.
_NOTED_BY_PIP = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"})
#: The libraries that built programs may load; the rest of the toolkit is for building.
_LIBRARY = re.compile(r"lib(64|/lib(?!nvvm)[^/]*\.so[^/]*)?")
_UPSTREAM = re.compile(r"=(?:\d+:)?(\d+(?:\.\d+)*)")


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """A toolchain image that the engine has now."""

    name: str
    id: str
    #: "sha256:…" over its layers and settings: of the same packages always the same.
    digest: str
    #: All its layers, those shared with other images too.
    bytes: int
    #: Whether it was built now, not found up to date.
    new: bool


async def build_images(
    client: aiodocker.Docker, names: Iterable[str], home: Path, progress: Progress
) -> list[BuiltImage]:
    """Build and load the images of these languages, or these single images, bases first.

    Images that are up to date with the host's package lists are left as they are. `home` is the
    folder of Hermes: scratch files (1 GB at most, removed) and CUDA's toolkit lie there. `progress`
    is called with a line per step. Raises ImageFailed, InstallFailed, ToolchainMissing.
    """
    with _scratch(home / "images") as scratch:
        work = _Work(client, await in_thread(host_sources), home, scratch, progress)
        return [await work.provide(recipe) for recipe in in_order(names)]


class _Work:
    """One call of `build_images`: what was found out and made so far."""

    def __init__(
        self,
        client: aiodocker.Docker,
        sources: AptSources,
        home: Path,
        scratch: Path,
        progress: Progress,
    ) -> None:
        self._client = client
        self._sources = sources
        self._home = home
        self._scratch = scratch
        self._progress = progress
        self._plans: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._layers: dict[str, tuple[Layer, ...]] = {}

    async def provide(self, recipe: Recipe) -> BuiltImage:
        plan = await self._plan(recipe)
        inputs = _inputs_digest(recipe, plan)
        stored = await engine.find(self._client, f"{REPOSITORY}/{recipe.name}:latest")
        if stored is not None and _labels(stored).get(RECIPE_LABEL) == inputs:
            self._progress(f"{recipe.name} is up to date")
            self._layers[recipe.name] = _layers_of(stored)
            return _built(recipe, stored, new=False)
        layers = await self._make_layers(recipe)
        version = version_of(recipe, plan)
        facts = {NAME_LABEL: recipe.name, VERSION_LABEL: version, **dict(recipe.env)}
        digest = contents_digest(layers, facts)
        image = Image(
            layers=layers,
            env=dict(recipe.env),
            labels={
                NAME_LABEL: recipe.name,
                VERSION_LABEL: version,
                CONTENTS_LABEL: digest,
                RECIPE_LABEL: inputs,
            },
            command=("/bin/sh",),
            folder="/work",
            user="1000:1000",
        )
        repository = f"{REPOSITORY}/{recipe.name}"
        own_tag = f"{repository}:{version}-{digest.removeprefix('sha256:')[:12]}"
        self._progress(f"Loading {recipe.name} into the engine")
        identity = await engine.load(
            self._client,
            image,
            tags=(f"{repository}:latest", own_tag),
            known=await self._known(recipe),
            base=f"{REPOSITORY}/{recipe.base}:latest" if recipe.base else None,
            scratch=self._scratch,
        )
        stored = await engine.find(self._client, identity)
        if stored is None:
            raise ImageFailed(f"somebody removed the image {recipe.name} while it was loaded")
        await self._remove_older(recipe, identity)
        return _built(recipe, stored, new=True)

    async def _make_layers(self, recipe: Recipe) -> tuple[Layer, ...]:
        below = self._layers[recipe.base] if recipe.base else ()
        target = self._scratch / f"{recipe.name}.tar"
        if recipe.toolkit is not None:
            layer = await self._pack_toolkit(recipe, target)
        else:
            folder = await self._rootfs(recipe)
            over = await self._rootfs(RECIPES[recipe.base]) if recipe.base else None
            self._progress(f"Packing {recipe.name}")
            layer = await in_thread(pack_folder, folder, target, over=over)
        self._layers[recipe.name] = (*below, layer)
        return self._layers[recipe.name]

    async def _rootfs(self, recipe: Recipe) -> Path:
        folder = self._scratch / recipe.name
        if not folder.exists():
            count = len(await self._plan(recipe))
            self._progress(f"Installing {count} packages for {recipe.name}")
            await install_rootfs(folder, packages_of(recipe), self._sources)
            await in_thread(_furnish, folder, recipe)
        return folder

    async def _pack_toolkit(self, recipe: Recipe, target: Path) -> Layer:
        toolkit = await in_thread(install_cuda, self._home, self._progress)
        root = Path(toolkit.root)
        select = _is_library if recipe.toolkit == "libraries" else _is_wanted
        self._progress(f"Packing {recipe.name}")
        return await in_thread(
            pack_folder, root, target, at=SANDBOX_ROOT, select=select, plain=True
        )

    async def _plan(self, recipe: Recipe) -> tuple[str, ...]:
        packages = packages_of(recipe)
        if packages not in self._plans:
            self._plans[packages] = await in_thread(planned, packages, self._sources)
        return self._plans[packages]

    async def _known(self, recipe: Recipe) -> frozenset[str]:
        """The layers below that the engine has."""
        if recipe.base is None:
            return frozenset()
        base = await engine.find(self._client, f"{REPOSITORY}/{recipe.base}:latest")
        return frozenset(layer.diff_id for layer in _layers_of(base)) if base else frozenset()

    async def _remove_older(self, recipe: Recipe, identity: str) -> None:
        """Remove what this build replaces; where a container still uses it, it stays."""
        label = f"{NAME_LABEL}={recipe.name}"
        for older in await engine.list_labelled(self._client, label):
            mine = all(tag.startswith(f"{REPOSITORY}/") for tag in older.tags)
            for reference in (older.tags or (older.id,)) if mine and older.id != identity else ():
                await engine.remove(self._client, reference)


def version_of(recipe: Recipe, plan: Iterable[str]) -> str:
    """The version of the image's compiler, or of the C++ library if it has none."""
    if recipe.toolkit is not None:
        return pinned_packages()["nvidia-cuda-nvcc"]
    compiler = re.compile(r"g\+\+-\d+=" if "g++" in packages_of(recipe) else r"libstdc\+\+6=")
    for package in plan:
        if compiler.match(package) and (found := _UPSTREAM.search(package)):
            return found[1]
    raise ImageFailed(f"apt would not install a compiler for {recipe.name}")


def _inputs_digest(recipe: Recipe, plan: Iterable[str]) -> str:
    """Changes when building again would give another image."""
    toolkit = REQUIREMENTS.read_text(encoding="utf-8") if recipe.toolkit else ""
    facts = [RULES, recipe, commands_of(recipe), list(plan), toolkit, ETC_FILES]
    return f"sha256:{hashlib.sha256(msgspec.json.encode(facts)).hexdigest()}"


def _furnish(folder: Path, recipe: Recipe) -> None:
    """Make of a distribution's root folder what a sandbox shows."""
    for name in _NOT_SHOWN:
        shutil.rmtree(folder / name, ignore_errors=True)
    etc = folder / "etc"
    for path in etc.iterdir():
        if path.name in _KEPT_OF_ETC:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, content in ETC_FILES.items():
        (etc / name).write_text(content, encoding="ascii")
        (etc / name).chmod(0o644)
    for name, target in commands_of(recipe):
        command = folder / "usr/bin" / name
        if not command.exists():
            command.symlink_to(target)
    for name in _MOUNT_POINTS:
        (folder / name).mkdir(mode=0o755)


def _is_library(path: str) -> bool:
    return _LIBRARY.fullmatch(path) is not None


def _is_wanted(path: str) -> bool:
    return Path(path).name not in _NOTED_BY_PIP


def _labels(stored: Mapping[str, object]) -> Mapping[str, str]:
    config = stored.get("Config")
    return (config.get("Labels") if isinstance(config, dict) else None) or {}


def _layers_of(stored: Mapping[str, object]) -> tuple[Layer, ...]:
    root = stored.get("RootFS")
    ids = root.get("Layers") if isinstance(root, dict) else None
    return tuple(Layer(diff_id=str(diff_id), size=0) for diff_id in ids or ())


def _built(recipe: Recipe, stored: Mapping[str, object], *, new: bool) -> BuiltImage:
    return BuiltImage(
        name=recipe.name,
        id=str(stored["Id"]),
        digest=_labels(stored).get(CONTENTS_LABEL, ""),
        bytes=int(str(stored.get("Size", 0))),
        new=new,
    )


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for one build; only one builds at a time, and leftovers of a killed one go."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel drops it with the process
        for left in folder.glob("build-*"):
            shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix="build-", dir=folder))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
