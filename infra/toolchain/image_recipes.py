"""What goes into the toolchain images: packages and links, as data.

    runtime ── cpp
       └ runtime-cuda    (and cuda lies on cpp)

Programs run in the runtime images, builds in the others. A program built in one finds its
libraries in the other because the lower layers are the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from infra.sandbox.command import PATH
from infra.toolchain.cuda import SANDBOX_ROOT

REPOSITORY = "hermes-toolchain"
#: Changes when what is done to the packages does: images made before are then out of date.
RULES = 1

NAME_LABEL = "hermes.toolchain"
VERSION_LABEL = "hermes.version"
CONTENTS_LABEL = "hermes.contents"
RECIPE_LABEL = "hermes.recipe"


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One image. `base` is the recipe whose layers lie below."""

    name: str
    base: str | None = None
    #: Of the distribution, those of the base not repeated.
    packages: tuple[str, ...] = ()
    #: Commands that a package's own scripts would link: name and target in /usr/bin.
    commands: tuple[tuple[str, str], ...] = ()
    #: Which files of CUDA's toolkit lie in /opt/cuda.
    toolkit: str | None = None
    env: tuple[tuple[str, str], ...] = (("PATH", PATH),)


_CUDA_ENV = (("CUDA_HOME", SANDBOX_ROOT), ("CUDA_PATH", SANDBOX_ROOT))

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="runtime",
            packages=(
                *("libc-bin", "libstdc++6", "libgomp1", "libatomic1"),
                *("dash", "bash", "coreutils", "debianutils", "findutils", "diffutils"),
                *("grep", "sed", "mawk", "tar", "gzip"),
            ),
            commands=(("awk", "mawk"), ("which", "which.debianutils")),
        ),
        Recipe(
            name="cpp",
            base="runtime",
            packages=("g++", "make"),
            commands=(
                *(("c++", "g++"), ("cc", "gcc")),
                *(("c89", "c89-gcc"), ("c99", "c99-gcc")),
            ),
        ),
        Recipe(
            name="runtime-cuda",
            base="runtime",
            toolkit="libraries",
            env=(("PATH", PATH), ("LD_LIBRARY_PATH", f"{SANDBOX_ROOT}/lib64")),
        ),
        Recipe(
            name="cuda",
            base="cpp",
            toolkit="all",
            env=(("PATH", f"{SANDBOX_ROOT}/bin:{PATH}"), *_CUDA_ENV),
        ),
    )
}

#: For each language the image to build in and the one to run in.
LANGUAGES = {"cpp": ("cpp", "runtime"), "cuda": ("cuda", "runtime-cuda")}


def packages_of(recipe: Recipe) -> tuple[str, ...]:
    """The packages in the image, those of its base first."""
    below = packages_of(RECIPES[recipe.base]) if recipe.base else ()
    return (*below, *recipe.packages)


def commands_of(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """The linked commands in the image, those of its base first."""
    below = commands_of(RECIPES[recipe.base]) if recipe.base else ()
    return (*below, *recipe.commands)


def in_order(names: Iterable[str]) -> list[Recipe]:
    """The recipes needed for these languages or images, bases before what lies on them."""
    wanted: dict[str, Recipe] = {}

    def want(name: str) -> None:
        recipe = RECIPES[name]
        if recipe.base is not None:
            want(recipe.base)
        wanted.setdefault(name, recipe)

    for name in names:
        for image in reversed(LANGUAGES.get(name, (name,))):
            want(image)
    return list(wanted.values())
