"""What docs/consensus.md says of plots and mutants is what the simulator has."""

from __future__ import annotations

import re
from pathlib import Path

from tests.simulator import villains
from tests.simulator.mutants import MUTANTS
from tests.simulator.schedules import KINDS, RARE_KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "consensus.md").read_text(encoding="utf-8")


def rows(first_cell: str) -> list[list[str]]:
    """The cells of the table whose head begins with `first_cell`."""
    table = PAGE.split(f"| {first_cell} |", 1)[1].split("\n\n", 1)[0]
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_every_plot_of_the_table_exists_and_every_plot_stands_in_it() -> None:
    named = {name for _, where in rows("schedule") for name in re.findall(r"`([a-z_]+)`", where)}
    assert named == set(KINDS | RARE_KINDS)


def test_every_villain_of_the_table_exists() -> None:
    named = {name for _, where in rows("schedule") for name in re.findall(r"`([A-Z]\w+)`", where)}
    assert {"Twin", "Rejustifier", "Duplicator"} <= named
    assert all(issubclass(getattr(villains, name), villains.Villain) for name in named)


def test_every_mutant_stands_in_the_table_with_its_bound() -> None:
    said = {name: int(within) for name, _, within in rows("mutant")}
    assert said == {name: mutant.within for name, mutant in MUTANTS.items()}


def test_no_mutant_was_found_later_than_its_bound() -> None:
    assert all(int(found) <= int(within) for _, found, within in rows("mutant"))
