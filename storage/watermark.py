"""The sign watermark: how far this key has signed, in two slots outside the data directory.

Promises: a slot is written whole and synced before a vote is signed; the slots alternate, so a write torn by
a power cut leaves the one before; each slot is checksummed and names chain and key. It is never in a backup;
only `create_watermark` (called by `init`) makes it: a missing slot is a lost memory, not a new one.

Layout of a slot file, 32 KiB: `magic:8 ‖ length:4 ‖ checksum:32 ‖ payload ‖ zeros`, big-endian,
payload = [version, chain_id, public_key, sequence, record | nil], checksum = H("drex/watermark", payload).
The record comes without a proposal's attachment; an even sequence lies in slot-0, an odd one in slot-1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from consensus.journal import VoteRecord, decode_record
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, StorageFailure
from primitives.hashing import tagged_hasher
from primitives.limits import WATERMARK_SLOT_BYTES
from storage import failpoints
from storage.files import (
    lock_exclusively,
    read_bounded,
    replace_file,
    sync_data,
    sync_directory,
    write_failed,
    write_fully,
)
from storage.retirement import (
    RETIREMENT_VERSION,
    Retirement,
    encode_retirement,
    is_marked,
    parse_retirement,
    refuse_retired,
)

WATERMARK_VERSION = 1
SLOT_FILES = ("slot-0", "slot-1")
LOCK_FILE = "LOCK"

_MAGIC = b"DREXWM\x00\x01"
_HEAD = len(_MAGIC) + 4 + 32
_hash_slot = tagged_hasher("drex/watermark")


class Slot(Record, frozen=True):
    """One side of the watermark. `record` is None until the key has signed something."""

    version: int
    chain_id: bytes
    public_key: bytes
    sequence: int
    record: VoteRecord | None


@dataclass(frozen=True, slots=True)
class WatermarkContents:
    """Both slots as read; None for one that is missing, torn or damaged.

    `is_retired` when either slot ever was; `retirement` is the newest readable mark."""

    slots: tuple[Slot | None, Slot | None]
    is_retired: bool = False
    retirement: Retirement | None = None

    @property
    def newest(self) -> Slot | None:
        """The good slot written last."""
        return max((slot for slot in self.slots if slot), key=lambda slot: slot.sequence, default=None)

    @property
    def damaged(self) -> int:
        """How many slots are bad or missing."""
        return sum(slot is None for slot in self.slots)


def encode_slot(slot: Slot) -> bytes:
    """The used bytes of a slot file. Raises `StorageFailure` when the record does not fit."""
    payload = encode(slot)
    data = _MAGIC + len(payload).to_bytes(4, "big") + _hash_slot(payload) + payload
    if len(data) > WATERMARK_SLOT_BYTES:
        raise StorageFailure("WATERMARK_TOO_LARGE", f"a record of {len(payload)} bytes does not fit a slot")
    return data


def parse_slot(data: bytes | None, side: int) -> Slot | None:
    """Read the bytes of slot file `side`; None for anything not written there. Pure; never raises."""
    if data is None or len(data) < _HEAD or data[: len(_MAGIC)] != _MAGIC:
        return None
    length = int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + 4], "big")
    payload = data[_HEAD : _HEAD + length]
    if len(payload) != length or _hash_slot(payload) != data[len(_MAGIC) + 4 : _HEAD]:
        return None
    try:
        slot = decode(payload, Slot, max_bytes=WATERMARK_SLOT_BYTES)
        if slot.record is not None:
            decode_record(slot.record.encode())
    except DecodeError:
        return None
    return slot if slot.version == WATERMARK_VERSION and slot.sequence % 2 == side else None


def create_watermark(directory: Path, chain_id: bytes, public_key: bytes) -> None:
    """Make the two slots of a key that has never signed. `init` alone calls this.

    Raises `StorageFailure`: WATERMARK_EXISTS when a slot is already there (a key that may have signed).
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise write_failed(directory, error) from error
    if any((directory / name).exists() for name in SLOT_FILES):
        message = f"{directory} already holds a watermark; a key that has signed keeps it for ever"
        raise StorageFailure("WATERMARK_EXISTS", message, path=str(directory))
    for sequence, name in enumerate(SLOT_FILES):
        _write_new_slot(directory / name, Slot(WATERMARK_VERSION, chain_id, public_key, sequence, None))
    sync_directory(directory.parent)


def read_watermark(directory: Path) -> WatermarkContents:
    """Read both slots without changing them. Raises `StorageFailure` only when the file system does."""
    files = [read_bounded(directory / name, WATERMARK_SLOT_BYTES) for name in SLOT_FILES]
    first, second = (parse_slot(data, side) for side, data in enumerate(files))
    marks = [mark for data in files if (mark := parse_retirement(data)) is not None]
    newest = max(marks, key=lambda mark: mark.sequence, default=None)
    return WatermarkContents((first, second), any(map(is_marked, files)), newest)


class Watermark:
    """The open watermark of one key, held exclusively by this process. One thread at a time."""

    def __init__(self, directory: Path, chain_id: bytes, public_key: bytes) -> None:
        """Take hold of the directory and read it; `contents` is what was found. Raises `StorageFailure`:
        STORAGE_LOCKED, WATERMARK_MISSING (no directory: run `init`), WATERMARK_FOREIGN, SIGNER_RETIRED."""
        self.directory = directory
        if not directory.is_dir():
            message = f"{directory} does not exist; `drexnode init` creates the sign watermark"
            raise StorageFailure("WATERMARK_MISSING", message, path=str(directory))
        self._chain_id, self._public_key = chain_id, public_key
        self._lock = lock_exclusively(directory / LOCK_FILE)
        self._descriptors: list[int] = []
        self._failed = False
        try:
            self.contents = read_watermark(directory)
            if self.contents.is_retired:
                raise refuse_retired(str(directory), self.contents.retirement)
            self._check_owner()
        except StorageFailure:
            self.close()
            raise
        newest = self.contents.newest
        self._sequence = newest.sequence if newest else 0
        self._record = newest.record if newest else None

    @property
    def record(self) -> VoteRecord | None:
        """The last durable record."""
        return self._record

    def reset(self, record: VoteRecord | None) -> None:
        """Write both slots whole, the older or bad one first: repairs a bad slot and begins a run.

        Raises `StorageFailure`."""
        self._failed = True
        self._close_slots()
        for _ in SLOT_FILES:
            self._sequence += 1
            _write_new_slot(self.directory / SLOT_FILES[self._sequence % 2], self._slot(record))
        try:
            for name in SLOT_FILES:
                self._descriptors.append(os.open(self.directory / name, os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            raise write_failed(self.directory, error) from error
        self._record = record
        self._failed = False

    def write(self, record: VoteRecord) -> None:
        """Make `record` durable in the older slot. Call `reset` once before. Raises `StorageFailure`; the
        watermark then refuses everything after it."""
        if self._failed or not self._descriptors:
            message = f"an earlier write of {self.directory} failed or it is closed: restart the node"
            raise StorageFailure("STORAGE_POISONED", message, path=str(self.directory))
        self._sequence += 1
        side = self._sequence % 2
        data = encode_slot(self._slot(record))
        failpoints.reach("watermark.before_write")
        self._failed = True  # until the sync below has returned
        write_fully(self._descriptors[side], data, 0, self.directory / SLOT_FILES[side])
        failpoints.reach("watermark.after_write")
        sync_data(self._descriptors[side], self.directory / SLOT_FILES[side])
        failpoints.reach("watermark.after_sync")
        self._failed = False
        self._record = record

    def retire(self, heir: bytes) -> Retirement:
        """Put the mark of retirement in place of both slots, for good; it is durable when this returns, and
        holds from the first slot on. Raises `StorageFailure`; then whether it is retired is seen by reading.
        """
        self._failed = True
        self._close_slots()
        record = None if self._record is None else self._record.without_attachment()
        for _ in SLOT_FILES:
            self._sequence += 1
            mark = Retirement(
                RETIREMENT_VERSION, self._chain_id, self._public_key, self._sequence, record, heir
            )
            replace_file(self.directory / SLOT_FILES[self._sequence % 2], encode_retirement(mark))
        return mark

    def close(self) -> None:
        """Let go of the directory. Idempotent."""
        self._close_slots()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._failed = True

    def _slot(self, record: VoteRecord | None) -> Slot:
        kept = None if record is None else structs.replace(record, attachment=b"")
        return Slot(WATERMARK_VERSION, self._chain_id, self._public_key, self._sequence, kept)

    def _close_slots(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _check_owner(self) -> None:
        for slot in self.contents.slots:
            if slot and (slot.chain_id, slot.public_key) != (self._chain_id, self._public_key):
                message = f"{self.directory} belongs to another chain or key ({slot.public_key.hex()})"
                raise StorageFailure("WATERMARK_FOREIGN", message, path=str(self.directory))


def write_slot(directory: Path, slot: Slot) -> None:
    """Write one slot whole where its sequence puts it (an import writes both). Raises `StorageFailure`."""
    _write_new_slot(directory / SLOT_FILES[slot.sequence % 2], slot)


def complete_retirement(directory: Path, mark: Retirement) -> None:
    """Put `mark` where a power cut left a slot as it was, or a disk has lost the mark: one that stands alone
    would be no more than a bad slot once it is damaged. Raises `StorageFailure`."""
    for name in SLOT_FILES:
        if parse_retirement(read_bounded(directory / name, WATERMARK_SLOT_BYTES)) is None:
            replace_file(directory / name, encode_retirement(mark))


def _write_new_slot(path: Path, slot: Slot) -> None:
    """Write a slot file at its full length, so that later writes never change the file's size."""
    data = encode_slot(slot)
    replace_file(path, data + bytes(WATERMARK_SLOT_BYTES - len(data)))
