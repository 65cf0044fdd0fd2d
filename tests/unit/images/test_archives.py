"""Images: an id that anybody can work out, and archives that engines load."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import msgspec
import pytest

from infra.images import engine
from infra.images.archive import Image, contents_digest, write_archive
from infra.images.errors import ImageFailed
from infra.images.layers import Layer, pack_folder
from tests.support.fake_image_engine import FakeImageEngine


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Layer, ...]:
    made = []
    for name in ("lower", "upper"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        made.append(pack_folder(tmp_path / name, tmp_path / f"{name}.tar"))
    return tuple(made)


def archive(image: Image, **options: object) -> dict[str, bytes]:
    file = io.BytesIO()
    write_archive(image, file, **options)  # type: ignore[arg-type]
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def test_the_id_depends_on_content_not_on_the_order_of_settings(layers: tuple[Layer, ...]) -> None:
    image = Image(layers=layers, env={"A": "1", "B": "2"}, labels={"x": "1", "y": "2"})
    same = Image(layers=layers, env={"B": "2", "A": "1"}, labels={"y": "2", "x": "1"})
    assert image.id == same.id
    assert image.id != msgspec.structs.replace(image, env={"A": "1"}).id
    assert image.id != msgspec.structs.replace(image, layers=layers[::-1]).id


def test_an_archive_names_its_configuration_layers_and_tags(layers: tuple[Layer, ...]) -> None:
    image = Image(layers=layers, user="1000:1000", folder="/work", command=("/bin/sh",))
    files = archive(image, tags=("name:tag",))
    [manifest] = json.loads(files["manifest.json"])
    assert manifest["RepoTags"] == ["name:tag"]
    assert set(manifest["Layers"]) < files.keys()
    config = json.loads(files[manifest["Config"]])
    assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in layers]
    assert config["config"]["User"] == "1000:1000"


def test_layers_that_the_engine_has_are_named_and_left_out(layers: tuple[Layer, ...]) -> None:
    lower, upper = layers
    image = Image(layers=(Layer(diff_id=lower.diff_id, size=0), upper))
    files = archive(image, known={lower.diff_id})
    [manifest] = json.loads(files["manifest.json"])
    assert [name in files for name in manifest["Layers"]] == [False, True]


def test_the_digest_of_contents_covers_layers_and_facts(layers: tuple[Layer, ...]) -> None:
    digest = contents_digest(layers, {"name": "runtime"})
    assert digest == contents_digest(list(layers), {"name": "runtime"})
    assert digest != contents_digest(layers[:1], {"name": "runtime"})
    assert digest != contents_digest(layers, {"name": "cpp"})


async def test_a_loaded_image_is_found_by_its_id_and_by_tag(layers: tuple[Layer, ...]) -> None:
    fake = FakeImageEngine()
    image = Image(layers=layers)
    assert await engine.load(fake, image, tags=("name:tag",)) == image.id  # type: ignore[arg-type]
    assert (await fake.inspect("name:tag"))["Id"] == image.id


async def test_what_the_engine_says_against_an_image_is_passed_on(
    layers: tuple[Layer, ...],
) -> None:
    lower, upper = layers
    image = Image(layers=(Layer(diff_id=lower.diff_id, size=0), upper))
    with pytest.raises(ImageFailed, match="no such file"):
        await engine.load(FakeImageEngine(), image, known={lower.diff_id})  # type: ignore[arg-type]


async def test_only_an_engine_that_lacks_a_layer_is_sent_the_layers_below(
    layers: tuple[Layer, ...],
) -> None:
    lower, upper = layers
    fake = FakeImageEngine()
    await engine.load(fake, Image(layers=(lower,)), tags=("base",))  # type: ignore[arg-type]
    image = Image(layers=(Layer(diff_id=lower.diff_id, size=0), upper))
    fake.full = True
    with pytest.raises(ImageFailed, match="no space left"):
        await engine.load(fake, image, known={lower.diff_id}, base="base")  # type: ignore[arg-type]
    assert fake.exports == 0
    fake.full, fake.picky = False, True
    with pytest.raises(ImageFailed, match="does not give base back"):
        await engine.load(fake, image, known={lower.diff_id}, base="base")  # type: ignore[arg-type]
    assert fake.exports == 1
