"""Each procedure of the handbook names the tests that carry it out, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROCEDURES = (
    "Install", "Join", "Look", "Back up and restore", "Move a validator, a lost key",
    "The network stands still",
    "Validators lost for good", "A full disk", "Upgrade the network",
)  # fmt: skip
_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.S | re.M)
SECTIONS = dict(_SECTION.findall((ROOT / "docs" / "handbook.md").read_text("utf-8")))


def test_the_handbook_has_these_procedures_and_no_other() -> None:
    assert tuple(SECTIONS) == PROCEDURES


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_a_procedure_is_carried_out_by_tests_that_exist(procedure: str) -> None:
    named = re.findall(r"`(tests/\S+?\.py)`", SECTIONS[procedure])
    assert named
    for path in named:
        assert re.search(r"^(async )?def test_", (ROOT / path).read_text("utf-8"), re.M), path
