"""Each default of libp2p that docs/network.md says we changed has a test, and the tests named there exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "network.md").read_text()
ROOMS = ("tests/p2p", "tests/drexnode")


def rows() -> dict[str, list[str]]:
    """Default -> the tests that its row names; an ellipsis stands for the rest of a name."""
    table = PAGE.split("## libp2p's defaults", 1)[1].split("\n\n")[1]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {default: re.findall(r"`([^`]+)`", tests) for default, _, tests in cells}


def names() -> list[str]:
    """All tests that there are."""
    found = []
    for room in ROOMS:
        for path in (ROOT / room).glob("test_*.py"):
            found += re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    return found


def test_the_table_is_read_whole() -> None:
    assert len(rows()) >= 24


@pytest.mark.parametrize("default", list(rows()))
def test_a_changed_default_has_a_test(default: str) -> None:
    assert rows()[default]
    for wanted in rows()[default]:
        pattern = re.compile(re.escape(wanted).replace("…", r"\w*"))
        assert any(pattern.fullmatch(name) for name in names()), wanted


def test_no_compiler_is_needed_for_fastecdsa() -> None:
    """2.3.2, which libp2p asks for, has no wheel; the lock file brings 4.0.0, and the installation does
    not resolve what would ask for the other."""
    lock = (ROOT / "requirements" / "runtime.lock").read_text()
    assert re.findall(r"^fastecdsa==(\S+)", lock, re.MULTILINE) == ["4.0.0"]
    assert "--no-deps --require-hashes" in (ROOT / "Makefile").read_text()
