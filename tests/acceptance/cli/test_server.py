"""Hermes of this machine, as far as it needs no running server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.cli.conftest import Hermes


def test_where_nothing_runs_status_ends_with_six_and_down_is_fine(
    hermes: Hermes, tmp_path: Path
) -> None:
    status = hermes("status", "--json")
    assert (status.code, status.json) == (6, {"url": None, "ready": False, "roles": []})
    assert "hermes up" in hermes("status", "--home", "elsewhere").stderr
    assert hermes("down", "--json").json == {"stopped": False}
    assert hermes("down").code == 0


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--port", "0"], "--port"),
        (["--port", "65536"], "--port"),
        (["--port", "http"], "--port"),
        (["--sandbox", "chroot"], "bubblewrap"),
    ],
)
def test_up_names_the_flag_that_is_wrong(
    hermes: Hermes, tmp_path: Path, arguments: list[str], flag: str
) -> None:
    result = hermes("up", *arguments)
    assert result.code == 2
    assert flag in result.stderr
    assert not (tmp_path / ".hermes").exists()


def test_a_folder_that_cannot_be_used_is_told(hermes: Hermes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = hermes("up", "--detach", "--home", "file/folder")
    assert result.code == 1
    assert "--home" in result.stderr


def test_without_the_server_installed_up_says_what_to_install(
    hermes: Hermes, tmp_path: Path
) -> None:
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "__init__.py").write_text("import a_package_of_the_server")
    result = hermes("up", env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"})
    assert result.code == 1
    assert "a_package_of_the_server is missing" in result.stderr
    assert "pip install 'hermes-serverless[embedded]'" in result.stderr


def test_doctor_lists_every_check(hermes: Hermes) -> None:
    checks = hermes("doctor", "--json").json
    assert {"name", "ok", "required", "detail", "advice"} == set(checks[0])
    table = hermes("doctor").text
    assert all(check["name"] in table for check in checks)
    assert hermes("doctor", "--fix", "everything").code == 2
