"""Room on the disk: stop proposing while it is low, halt before it is gone, keep a reserve to start again.

A full disk cannot even be opened: LevelDB writes when it opens. So the node halts while there is still room
(`STOP`, below the floor), and a reserve file beside the data is given up at start when room is short, and
taken back once there is plenty.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from primitives.errors import StorageFailure
from primitives.limits import DISK_FLOOR_BYTES, DISK_LOW_BYTES, DISK_RESERVE_BYTES
from storage.files import write_failed

RESERVE_FILE = "reserve"
_BLOCK = bytes(1 << 20)


class Room(IntEnum):
    """How much room is left."""

    ENOUGH = 0
    LOW = 1  # do not propose; go on voting and storing
    STOP = 2  # halt with a StorageFailure before the disk is full


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The room of the file system that holds `directory`; bounds in bytes, `low >= floor`."""

    directory: Path
    floor_bytes: int = DISK_FLOOR_BYTES
    low_bytes: int = DISK_LOW_BYTES
    reserve_bytes: int = DISK_RESERVE_BYTES

    @property
    def free_bytes(self) -> int:
        """Bytes this process may still write. Raises `StorageFailure`."""
        try:
            status = os.statvfs(self.directory)
        except OSError as error:
            raise write_failed(self.directory, error) from error
        return status.f_bavail * status.f_frsize

    def room(self) -> Room:
        """The verdict of this moment; a few microseconds. Raises `StorageFailure`."""
        free = self.free_bytes
        if free < self.floor_bytes:
            return Room.STOP
        return Room.LOW if free < self.low_bytes else Room.ENOUGH

    def check(self) -> None:
        """Raise `StorageFailure` (STORAGE_DISK_FULL) when the room is below the floor."""
        free = self.free_bytes
        if free < self.floor_bytes:
            message = (
                f"{self.directory} has {free} bytes free, the floor is {self.floor_bytes}: the node stops "
                "before the disk is full; free some space, then start it again"
            )
            raise StorageFailure(
                "STORAGE_DISK_FULL", message, path=str(self.directory), free=free, floor=self.floor_bytes
            )

    def give_up_reserve(self) -> bool:
        """Delete the reserve file when the room is below the floor; True when that was needed.

        Call it at start, before the database is opened. Raises `StorageFailure`.
        """
        reserve = self.directory / RESERVE_FILE
        if self.free_bytes >= self.floor_bytes or not reserve.exists():
            return False
        try:
            reserve.unlink()
        except OSError as error:
            raise write_failed(reserve, error) from error
        return True

    def take_reserve(self) -> bool:
        """Make the reserve file when it is missing and there is plenty of room; True when it exists after.

        Its bytes are written, not merely promised: some file systems promise more than they have.
        """
        reserve = self.directory / RESERVE_FILE
        if reserve.exists():
            return True
        if self.free_bytes < self.low_bytes + self.reserve_bytes:
            return False
        temporary = reserve.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                for start in range(0, self.reserve_bytes, len(_BLOCK)):
                    file.write(_BLOCK[: self.reserve_bytes - start])
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(reserve)
        except OSError as error:
            raise write_failed(reserve, error) from error
        return True
