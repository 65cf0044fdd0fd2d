"""The doctor as a whole: quick, complete, and unmoved by whatever a check does."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from hermes.errors import InvalidRequest
from infra import doctor
from infra.doctor import Check, fix, run_checks


def test_every_check_answers_under_its_own_name_within_two_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    checks = run_checks(tmp_path / "home")
    assert time.monotonic() - start < 2.0
    assert [check.name for check in checks] == list(doctor._CHECKS)
    assert not (tmp_path / "home").exists()


def test_what_is_not_well_comes_with_advice_of_one_sentence(tmp_path: Path) -> None:
    for check in run_checks(tmp_path):
        assert check.detail
        assert (check.advice is None) == check.ok
        if check.advice:
            assert "\n" not in check.advice


def test_a_check_is_the_json_that_the_command_prints() -> None:
    check = Check(name="gpu", ok=False, required=False, detail="none", advice="Buy one.")
    assert msgspec.to_builtins(check) == {
        "name": "gpu",
        "ok": False,
        "required": False,
        "detail": "none",
        "advice": "Buy one.",
    }


def test_a_check_that_raises_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(home: Path) -> Check:
        raise ZeroDivisionError("odd machine")

    monkeypatch.setattr(doctor, "_CHECKS", {"disk": breaks, "kcat": breaks})
    disk, kcat = run_checks(tmp_path)
    assert (disk.ok, disk.required) == (False, True)
    assert (kcat.ok, kcat.required) == (False, False)
    assert "ZeroDivisionError: odd machine" in disk.detail


def test_a_check_that_hangs_costs_no_more_than_the_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(home: Path) -> Check:
        time.sleep(3)
        return Check("gpu", True, False, "at last")

    def answers(home: Path) -> Check:
        return Check("kcat", True, False, "at once")

    monkeypatch.setattr(doctor, "PATIENCE", 0.1)
    monkeypatch.setattr(doctor, "_CHECKS", {"gpu": hangs, "kcat": answers})
    start = time.monotonic()
    gpu, kcat = run_checks(tmp_path)
    assert time.monotonic() - start < 1.0
    assert not gpu.ok
    assert "no answer within 0.1 s" in gpu.detail
    assert kcat.ok


def test_only_what_hermes_can_mend_can_be_fixed(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot fix 'gpu'; it can fix: cuda"):
        fix("gpu", tmp_path, print)


def test_fixing_cuda_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(doctor, "install_cuda", lambda home, progress: asked.append(home))
    fix("cuda", tmp_path, print)
    assert asked == [tmp_path]
