"""Attack everything and print the table.

    python -m tests.abuse [WORD...]    only the attacks whose names have one of the words

Ends with 1 when anything is not as expected.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping

from tests.abuse import matrix
from tests.abuse.matrix import Cell, Verdict


async def main(words: list[str]) -> int:
    """Run the cells, print the table; the exit code."""
    begin = time.monotonic()
    wanted = [cell for cell in matrix.cells() if not words or any(w in cell[0] for w in words)]
    async with matrix.opened() as (enclosures, lacking):
        verdicts = await matrix.attempt_all(wanted, enclosures)
    print_table(verdicts)
    wrong = print_surprises(verdicts)
    for name, why in lacking.items():
        print(f"SKIPPED: {name}: {why}")
    print("SKIPPED: attacks by a GPU (hog, hang, outside, residue): they are compiled, not run")
    for name in matrix.ENCLOSURES:
        mine = [verdict for cell, verdict in verdicts.items() if cell[1] == name]
        stopped = sum(not verdict.through for verdict in mine)
        print(f"{name:<11} stopped {stopped} of {len(mine)}")
    print(f"{len(verdicts)} attempts in {time.monotonic() - begin:.0f} s, {wrong} not as expected")
    return 1 if wrong else 0


def print_table(verdicts: Mapping[Cell, Verdict]) -> None:
    """One line per attack: P where it was stopped, F where it was not, ! where that surprises."""
    heads = "".join(f"{name:>12}" for name in matrix.ENCLOSURES)
    print(f"{'attack':<44}{'expected':<38}{heads}")
    for attack in matrix.ATTACKS:
        marks = [_mark(verdicts.get((attack.name, name))) for name in matrix.ENCLOSURES]
        if set(marks) != {"-"}:
            print(f"{attack.name:<44}{attack.expected:<38}" + "".join(f"{m:>12}" for m in marks))


def _mark(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    return ("F" if verdict.through else "P") + ("" if verdict.expected else " !")


def print_surprises(verdicts: Mapping[Cell, Verdict]) -> int:
    """What is not as expected, and how many of them."""
    wrong = {cell: verdict for cell, verdict in verdicts.items() if not verdict.expected}
    for (attack, enclosure), verdict in wrong.items():
        print(f"! {attack} in {enclosure}: {'; '.join(verdict.through) or 'it was stopped'}")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
