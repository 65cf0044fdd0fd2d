"""What operators set, and what they hear when it cannot be."""

from __future__ import annotations

import pytest

from hermes.errors import InvalidRequest
from hermes.settings import Settings


def test_nothing_set_is_a_sandbox_chosen_by_what_is_there() -> None:
    settings = Settings.from_env({"HERMES_SANDBOX": "", "HERMES_WARM": ""})
    assert settings.sandbox == "auto"
    assert settings.warm is None


def test_no_warm_sandboxes_is_something_else_than_nothing_said() -> None:
    assert Settings.from_env({"HERMES_WARM": "0"}).warm == 0


def test_images_are_named_by_toolchain() -> None:
    given = "cuda=registry.example/cuda:13 , runtime-cuda=base@sha256:ab"
    assert Settings.from_env({"HERMES_TOOLCHAIN_IMAGES": given}).toolchain_images == {
        "cuda": "registry.example/cuda:13",
        "runtime-cuda": "base@sha256:ab",
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HERMES_TOOLCHAIN_IMAGES", "cuda"),
        ("HERMES_TOOLCHAIN_IMAGES", "=image"),
        ("HERMES_WARM", "many"),
        ("HERMES_WARM", "-1"),
        ("HERMES_GPU_RECHECK", "0"),
        ("HERMES_GPU_RECHECK", "-1"),
        ("HERMES_GPU_RECHECK", "nan"),
        ("HERMES_GPU_RECHECK", "inf"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=variable):
        Settings.from_env({variable: value})
