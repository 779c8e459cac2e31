"""Damaged parts of table files: found at once, but never in a table that is still being written."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from storage.leveldb import open_database
from storage.tables import damaged_parts


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A sound table of a closed database."""
    database = open_database(tmp_path / "db", create=True)
    batch = database.batch()
    for number in range(200):
        batch.put(number.to_bytes(4, "big"), bytes(100))
    database.write(batch)
    database.close()
    open_database(tmp_path / "db", create=False).close()  # reopening carries the log into a table
    (found,) = sorted((tmp_path / "db").glob("*.ldb"))
    return found


def test_a_sound_table_has_no_damage(table: Path) -> None:
    assert damaged_parts(table.parent) == []


@pytest.mark.parametrize("age_s", [3600, -3600])
def test_a_cut_table_is_damaged_whatever_the_clock_was(table: Path, age_s: int) -> None:
    table.write_bytes(table.read_bytes()[:-1])
    written_s = time.time() - age_s
    os.utime(table, (written_s, written_s))
    assert damaged_parts(table.parent) == [f"{table}: it has no table footer"]


def test_a_table_that_is_being_written_is_waited_for(table: Path) -> None:
    whole = table.read_bytes()
    table.write_bytes(whole[:-1])
    writer = threading.Timer(0.2, table.write_bytes, [whole])
    writer.start()
    assert damaged_parts(table.parent) == []
    writer.join()
