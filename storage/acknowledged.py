"""A small note beside the database: the highest height whose write has returned.

It is written after the synced batch and not synced itself, so it may lag behind the truth and is never ahead
of it. LevelDB takes a log that was cut short for one that ends there; with this note, a tip below the noted
height is found at start instead of being taken for the truth (STORAGE_LOST_BLOCKS).

Layout: two sides of 16 bytes, written in turn: height(8) ‖ first 8 bytes of H("drex/acknowledged", height).
"""

from __future__ import annotations

import os
from pathlib import Path

from primitives.errors import StorageFailure
from primitives.hashing import tagged_hasher
from storage.files import write_failed, write_fully

_SIDE_BYTES = 16
_hash_mark = tagged_hasher("drex/acknowledged")


class AcknowledgedMark:
    """The open note. One thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it when it is missing. Raises `StorageFailure`."""
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            data = os.pread(self._descriptor, 2 * _SIDE_BYTES, 0)
        except OSError as error:
            raise write_failed(path, error) from error
        sides = [data[start : start + _SIDE_BYTES] for start in range(0, len(data), _SIDE_BYTES)]
        self.height = max((_read_side(side) for side in sides), default=-1)
        self.is_damaged = any(_read_side(side) < 0 and any(side) for side in sides)

    def check(self, tip_height: int, database_path: Path) -> None:
        """Refuse a database whose tip (-1: none) is below the note. Raises `StorageFailure`."""
        if tip_height < self.height:
            message = (
                f"{database_path} ends at block {tip_height}, but block {self.height} was stored: data was "
                "lost; run `drexnode repair`, then start: the chain is fetched from peers"
            )
            raise StorageFailure(
                "STORAGE_LOST_BLOCKS", message, path=str(database_path), tip=tip_height, noted=self.height
            )

    def raise_to(self, height: int) -> None:
        """Note that `height` is durable. Raises `StorageFailure`."""
        number = height.to_bytes(8, "big")
        write_fully(self._descriptor, number + _hash_mark(number)[:8], _SIDE_BYTES * (height % 2), self._path)
        self.height = height

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _read_side(data: bytes) -> int:
    number, check = data[:8], data[8:]
    return (
        int.from_bytes(number, "big") if len(data) == _SIDE_BYTES and _hash_mark(number)[:8] == check else -1
    )
