"""`python -m infra.images.hermes_servers`: images of Kafka, PostgreSQL and Hermes, in the engine.

They are made of the host distribution's packages and of what is pinned and installed already; no
registry is asked. What has not changed since the last time is taken from the engine.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import aiodocker
import msgspec

from hermes.errors import HermesError
from infra.engine import connect
from infra.images import engine
from infra.images.archive import Image
from infra.images.layers import Layer, pack_folder
from infra.images.server_recipes import NAMES, ImageRecipe, LayerRecipe, recipes
from infra.images.threads import in_thread

#: On every image made here: its name, and the digests of what its layers are made of.
LABEL = "hermes.server-image"
_INPUTS = "hermes.layers"

Report = Callable[[str], None]


async def build(
    client: aiodocker.Docker,
    report: Report = lambda line: None,
    names: Iterable[str] = NAMES,
) -> dict[str, str]:
    """Make what is missing of the images `hermes/<name>`; their ids by name.

    Takes about a minute the first time, and is for root. Raises ImageFailed, JarsUnavailable.
    """
    wanted = await in_thread(recipes, tuple(names))
    with tempfile.TemporaryDirectory(prefix="hermes-images-") as scratch:
        bench = _Bench(Path(scratch), report)
        return {recipe.name: await _image(client, recipe, bench) for recipe in wanted}


def tag_of(name: str) -> str:
    """The tag of an image by its name."""
    return f"hermes/{name}:latest"


class _Bench:
    """Where layers are made, each once though several images have it."""

    def __init__(self, scratch: Path, report: Report) -> None:
        self.scratch = scratch
        self.report = report
        self._made: dict[str, Layer] = {}

    async def layer(self, recipe: LayerRecipe) -> Layer:
        """Lay out and pack."""
        if recipe.inputs not in self._made:
            with tempfile.TemporaryDirectory(dir=self.scratch) as parent:
                # A folder of its own below: that of `tempfile` is for its owner alone.
                folder = Path(parent, "layer")
                await recipe.lay_out(folder)
                target = self.scratch / f"{recipe.inputs}.tar"
                self._made[recipe.inputs] = await in_thread(pack_folder, folder, target)
        return self._made[recipe.inputs]


async def _image(client: aiodocker.Docker, recipe: ImageRecipe, bench: _Bench) -> str:
    tag = tag_of(recipe.name)
    inputs = [layer.inputs for layer in recipe.layers]
    there = await engine.find(client, tag)
    labels = ((there or {}).get("Config") or {}).get("Labels") or {}
    kept: list[Layer] = []
    if there and labels.get(LABEL) == recipe.name:
        before = msgspec.json.decode(labels[_INPUTS], type=list[str])
        for old, new, diff_id in zip(before, inputs, there["RootFS"]["Layers"], strict=False):
            if old != new:
                break
            kept.append(Layer(diff_id=diff_id, size=0))
    if len(kept) < len(inputs):
        bench.report(f"Making {tag}")
    made = [await bench.layer(layer) for layer in recipe.layers[len(kept) :]]
    image = Image(
        layers=(*kept, *made),
        command=recipe.command,
        env=recipe.env,
        user=recipe.user,
        labels={LABEL: recipe.name, _INPUTS: msgspec.json.encode(inputs).decode()},
    )
    if there and there["Id"] == image.id:
        return image.id
    loaded = await engine.load(
        client,
        image,
        tags=(tag,),
        known=tuple(layer.diff_id for layer in kept),
        scratch=bench.scratch,
    )
    if there and labels.get(LABEL):
        # Only now: its layers are those of the new one. It stays while containers of it run.
        await engine.remove(client, str(there["Id"]))
    return loaded


async def _main() -> None:
    client = await connect()
    try:
        for name, identity in (await build(client, _say)).items():
            print(f"{tag_of(name)}  {identity}")
    finally:
        await client.close()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Exit status: 0, or 1 with the reason on stderr."""
    try:
        asyncio.run(_main())
    except HermesError as error:
        print(f"hermes: {error.title()}: {error.detail}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
