"""After a power cut: take the torn end off a LevelDB log, and nothing else.

A write that was never acknowledged may be on disk in part, page by page. LevelDB, told to be strict, then
refuses to open the database at all. This module reads the log as LevelDB does (its doc/log_format.md:
blocks of 32 KiB, records `crc32c:4 ‖ length:2 ‖ type:1 ‖ data`, little-endian) and cuts it after the last
whole entry, provided that no entry begins behind the damage: then nothing acknowledged lies behind it. What
is cut off is kept beside the database. Whether an acknowledged block went with it (a flipped bit in the last
entry looks alike) is told by `storage.acknowledged`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from storage.files import replace_file, sync_data, write_failed

_BLOCK = 32 * 1024
_HEAD = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, slots=True)
class LogShape:
    """`good_bytes`: length of the whole entries at the beginning. `damaged_bytes`: what follows. `goes_on`:
    an entry begins behind the damage."""

    good_bytes: int
    damaged_bytes: int
    goes_on: bool


def read_shape(data: bytes) -> LogShape:
    """Find where the whole entries of a log end, and whether an entry begins behind that. Pure."""
    good, inside = 0, False
    offset, damaged = 0, False
    while offset < len(data):
        room = _BLOCK - offset % _BLOCK
        if room < _HEAD:
            offset += room
            continue
        kind, length = _record(data, offset, room)
        if kind is None:
            damaged = True
            offset = offset + _HEAD + length if length else offset + room
            continue
        if damaged and kind in (_FULL, _FIRST):
            return LogShape(good, len(data) - good, True)
        fits = kind in (_MIDDLE, _LAST) if inside else kind in (_FULL, _FIRST)
        damaged = damaged or not fits
        offset += _HEAD + length
        inside = kind in (_FIRST, _MIDDLE)
        if not damaged and not inside:
            good = offset
    return LogShape(good, len(data) - good, False)


def cut_torn_tails(database: Path) -> list[str]:
    """Cut the newest log and the manifest of the closed database in this directory where they are torn.

    Returns a sentence for each cut. Raises `StorageFailure` when the file system does.
    """
    candidates = [*sorted(database.glob("*.log"), reverse=True)[:1], *_manifest(database)]
    return [sentence for path in candidates if (sentence := _cut(path))]


def _cut(path: Path) -> str | None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise write_failed(path, error) from error
    shape = read_shape(data)
    if not shape.damaged_bytes or shape.goes_on:
        return None
    kept = path.parent.parent / f"{path.parent.name}.torn-{path.name}-{shape.good_bytes}"
    replace_file(kept, data[shape.good_bytes :])
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, shape.good_bytes)
            sync_data(descriptor, path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise write_failed(path, error) from error
    return (
        f"{path} had a torn end of {shape.damaged_bytes} bytes after byte {shape.good_bytes}; kept as {kept}"
    )


def _manifest(database: Path) -> list[Path]:
    try:
        name = (database / "CURRENT").read_text().strip()
    except (OSError, ValueError):
        return []
    path = database / name
    return [path] if name.startswith("MANIFEST-") and path.is_file() else []


def _record(data: bytes, offset: int, room: int) -> tuple[int | None, int]:
    """(type, length) of the record at `offset`; type None when it is bad, with a length to skip if any."""
    length = int.from_bytes(data[offset + 4 : offset + 6], "little")
    end = offset + _HEAD + length
    if _HEAD + length > room or end > len(data):
        return None, 0
    kind = data[offset + 6]
    if not _FULL <= kind <= _LAST:
        return None, length
    if mask_checksum(crc32c(data[offset + 6 : end])) != int.from_bytes(data[offset : offset + 4], "little"):
        return None, length
    return kind, length


def mask_checksum(checksum: int) -> int:
    """The form in which LevelDB stores a checksum."""
    return (((checksum >> 15) | (checksum << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _make_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_TABLE = _make_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as LevelDB uses it."""
    checksum, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        checksum = (checksum >> 8) ^ table[(checksum ^ byte) & 0xFF]
    return checksum ^ 0xFFFFFFFF
