"""What the toolchain images are made of."""

from __future__ import annotations

import pytest

from infra.images.errors import ImageFailed
from infra.toolchain import image_build
from infra.toolchain.image_build import version_of
from infra.toolchain.image_recipes import RECIPES, in_order, packages_of

PLAN = ("g++-13=13.3.0-6", "g++=4:13.2.0-7", "libstdc++6=14.2.0-4", "make=4.3-4.1")


def test_what_an_image_lies_on_is_built_first() -> None:
    assert [recipe.name for recipe in in_order(["cpp"])] == ["runtime", "cpp"]
    every = [recipe.name for recipe in in_order(["cuda", "cpp"])]
    assert every == ["runtime", "runtime-cuda", "cpp", "cuda"]


def test_an_image_has_the_packages_of_what_it_lies_on() -> None:
    assert set(packages_of(RECIPES["runtime"])) < set(packages_of(RECIPES["cuda"]))


def test_the_version_is_the_compilers_or_that_of_the_cpp_library() -> None:
    assert version_of(RECIPES["cpp"], PLAN) == "13.3.0"
    assert version_of(RECIPES["runtime"], PLAN) == "14.2.0"
    assert version_of(RECIPES["cuda"], PLAN).startswith("13.")


def test_a_plan_without_a_compiler_is_refused() -> None:
    with pytest.raises(ImageFailed, match="compiler"):
        version_of(RECIPES["cpp"], ("make=4.3",))


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("lib", True),
        ("lib64", True),
        ("lib/libcudart.so.13", True),
        ("lib/libcurand.so", True),
        ("lib/libnvvm.so.4", False),
        ("lib/libcudart_static.a", False),
        ("lib/cmake", False),
        ("bin/nvcc", False),
    ],
)
def test_runs_get_the_toolkits_shared_libraries_and_no_more(path: str, wanted: bool) -> None:
    assert image_build._is_library(path) is wanted


def test_an_image_is_out_of_date_when_a_package_or_the_recipe_changes() -> None:
    digest = image_build._inputs_digest
    before = digest(RECIPES["cpp"], PLAN)
    assert before == digest(RECIPES["cpp"], PLAN)
    assert before != digest(RECIPES["cpp"], (*PLAN, "zlib1g=1"))
    assert before != digest(RECIPES["runtime"], PLAN)
