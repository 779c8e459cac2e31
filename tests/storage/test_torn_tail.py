"""A log torn by a power cut opens again at its last whole entry; damage anywhere else is never cut away."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from primitives.errors import StorageFailure
from storage.leveldb import Database, open_database
from storage.torn_tail import crc32c, cut_torn_tails, read_shape

ENTRIES = 6


def fill(database: Database, number: int, rows: int) -> None:
    batch = database.batch()
    noise = random.Random(number)
    for row in range(rows):
        batch.put(b"%d-%d" % (number, row), noise.randbytes(100))
    batch.put(b"tip", b"%d" % number)
    database.write(batch)


@pytest.fixture
def torn(tmp_path: Path) -> tuple[Path, Path, int]:
    """A closed database of six entries, its log, and where the last entry begins."""
    folder = tmp_path / "db"
    database = open_database(folder, create=True)
    for number in range(ENTRIES - 1):
        fill(database, number, 200)
    log = next(folder.glob("*.log"))
    begins = log.stat().st_size
    fill(database, ENTRIES - 1, 900)
    database.close()
    return folder, log, begins


def test_crc32c_is_the_published_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_a_whole_log_is_left_alone(torn: tuple[Path, Path, int]) -> None:
    folder, log, _ = torn
    data = log.read_bytes()
    shape = read_shape(data)
    assert (shape.good_bytes, shape.damaged_bytes) == (len(data), 0)
    assert cut_torn_tails(folder) == []


def tip_after(folder: Path) -> bytes | None:
    database = open_database(folder)
    try:
        return database.get(b"tip")
    finally:
        database.close()


@pytest.mark.parametrize("seed", range(12))
def test_an_unsynced_end_in_any_subset_of_pages_opens_at_the_entry_before(
    torn: tuple[Path, Path, int], seed: int
) -> None:
    folder, log, begins = torn
    chance = random.Random(seed)
    data = bytearray(log.read_bytes())
    lost = 0
    for page in range(begins // 4096, -(-len(data) // 4096)):
        if chance.random() < 0.5:
            start, stop = max(begins, page * 4096), min(len(data), (page + 1) * 4096)
            data[start:stop] = bytes(stop - start)
            lost += 1
    log.write_bytes(data[: chance.choice([len(data), chance.randint(begins, len(data))])])
    expected = {b"%d" % (ENTRIES - 2)} | ({b"%d" % (ENTRIES - 1)} if not lost else set())
    assert tip_after(folder) in expected


def test_what_is_cut_off_is_kept_and_told(torn: tuple[Path, Path, int]) -> None:
    folder, log, begins = torn
    data = log.read_bytes()
    log.write_bytes(data[: begins + 5000] + bytes(len(data) - begins - 5000))
    database = open_database(folder)
    assert len(database.recovered) == 1
    assert str(begins) in database.recovered[0]
    database.close()
    kept = next(folder.parent.glob("db.torn-*"))
    assert kept.read_bytes() == data[begins : begins + 5000] + bytes(len(data) - begins - 5000)


@pytest.mark.parametrize("position", [0, 4, 5, 6, 100, 5000, 70_000])
def test_damage_in_front_of_a_whole_entry_is_corruption(torn: tuple[Path, Path, int], position: int) -> None:
    folder, log, begins = torn
    data = bytearray(log.read_bytes())
    assert position < begins
    data[position] ^= 4
    log.write_bytes(data)
    with pytest.raises(StorageFailure, match="STORAGE_CORRUPT"):
        open_database(folder)
    assert log.read_bytes() == bytes(data)


def test_a_torn_manifest_opens_again(torn: tuple[Path, Path, int]) -> None:
    folder, _, _ = torn
    manifest = next(folder.glob("MANIFEST-*"))
    with manifest.open("ab") as file:
        file.write(b"\x01\x02\x03\x04\x10\x00\x01" + bytes(9) + b"\x07" * 16)
    assert tip_after(folder) == b"%d" % (ENTRIES - 1)
