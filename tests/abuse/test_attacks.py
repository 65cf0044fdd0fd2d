"""The sandboxes stop every attack; the controls show that the attacks are real."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from tests.abuse import matrix
from tests.abuse.attack import CONTROLS, Enclosure
from tests.abuse.matrix import Cell, Verdict

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sees into sandboxes, as root may")


@pytest.mark.parametrize("cell", matrix.cells(), ids=lambda cell: f"{cell[1]}: {cell[0]}")
async def test_an_attack_ends_as_expected(
    cell: Cell,
    opened: tuple[Mapping[str, Enclosure], Mapping[str, str]],
    verdicts: Mapping[Cell, Verdict],
) -> None:
    if cell[1] in opened[1]:
        pytest.skip(f"{cell[1]}: {opened[1][cell[1]]}")
    verdict = verdicts[cell]
    assert verdict.expected, verdict.through or "this control stops it"


def test_most_attacks_succeed_in_a_control() -> None:
    real = [attack.name for attack in matrix.ATTACKS if attack.real]
    assert set().union(*(attack.real for attack in matrix.ATTACKS)) == CONTROLS
    assert len(real) > len(matrix.ATTACKS) * 2 / 3
