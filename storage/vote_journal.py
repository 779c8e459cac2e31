"""The vote journal: an append-only file that knows every vote before it leaves.

Promises: `append` returns only when the record is synced; a record torn by a power cut is dropped (its vote
was never signed); every record's checksum covers the one before it, so a lost, changed or foreign record ends
the readable part there, and `storage.signing_state` decides with the watermark what that means. The file
stays bounded: it starts again with what still matters once a decided height leaves it long.

Layout: frames `length:4 ‖ checksum:16 ‖ payload`, big-endian. The first payload names chain and key, the
others are vote records; checksum = first 16 bytes of H("drex/journal", previous 32-byte digest ‖ payload).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consensus.journal import VoteRecord, decode_record, last_record, lock_of
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, StorageFailure
from primitives.hashing import tagged_hasher
from primitives.limits import CONSENSUS_MAX_RECORD_BYTES, JOURNAL_ROTATE_BYTES, MAX_JOURNAL_BYTES
from storage import failpoints
from storage.files import read_bounded, replace_file, sync_data, write_failed, write_fully

JOURNAL_VERSION = 1
JOURNAL_FILE = "votes.journal"

_CHECKSUM_BYTES = 16
_FRAME_HEAD = 4 + _CHECKSUM_BYTES
_START = bytes(32)
_MAX_FILE_BYTES = MAX_JOURNAL_BYTES + 2 * (_FRAME_HEAD + CONSENSUS_MAX_RECORD_BYTES)
_hash_frame = tagged_hasher("drex/journal")


class JournalOwner(Record, frozen=True):
    """The first frame: whose votes these are."""

    version: int
    chain_id: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class JournalContents:
    """What could be read of a journal: its owner and the records of its unbroken beginning, oldest first.

    `damage` says what ended the reading before the file's end, or is None.
    """

    owner: JournalOwner | None = None
    records: tuple[VoteRecord, ...] = ()
    damage: str | None = None

    @property
    def last(self) -> VoteRecord | None:
        """The record of the highest position."""
        return last_record(self.records)


def parse_journal(data: bytes) -> JournalContents:
    """Read as many frames as are whole, in order and canonical. Pure; never raises."""
    owner: JournalOwner | None = None
    records: list[VoteRecord] = []
    digest, offset = _START, 0
    damage: str | None = None
    while offset < len(data):
        payload, digest, damage = _read_frame(data, offset, digest)
        if payload is None:
            break
        try:
            if owner is None:
                owner = decode(payload, JournalOwner, max_bytes=CONSENSUS_MAX_RECORD_BYTES)
            else:
                records.append(decode_record(payload))
        except DecodeError as error:
            damage = f"the frame at byte {offset} is no record: {error.message}"
            break
        offset += _FRAME_HEAD + len(payload)
    return JournalContents(owner, tuple(records), damage)


def _read_frame(data: bytes, offset: int, digest: bytes) -> tuple[bytes | None, bytes, str | None]:
    length = int.from_bytes(data[offset : offset + 4], "big")
    end = offset + _FRAME_HEAD + length
    if offset + _FRAME_HEAD > len(data) or end > len(data) or length > CONSENSUS_MAX_RECORD_BYTES:
        return None, digest, f"the frame at byte {offset} is not whole"
    payload = data[offset + _FRAME_HEAD : end]
    next_digest = _hash_frame(digest + payload)
    if next_digest[:_CHECKSUM_BYTES] != data[offset + 4 : offset + _FRAME_HEAD]:
        return None, digest, f"the frame at byte {offset} has a false checksum"
    return payload, next_digest, None


def read_journal(directory: Path) -> JournalContents:
    """Read the journal in `directory` without changing it; a missing one is empty.

    Raises `StorageFailure` only when the file system does.
    """
    data = read_bounded(directory / JOURNAL_FILE, _MAX_FILE_BYTES)
    return JournalContents() if data is None else parse_journal(data)


def records_that_matter(records: Sequence[VoteRecord]) -> tuple[VoteRecord, ...]:
    """Of `records`, those a restart needs: the last height's last round, and the holder of its lock."""
    last = last_record(records)
    if last is None:
        return ()
    lock = lock_of(records, last.height)
    holder = next((record for record in records if record.lock is not None and record.lock == lock), None)
    current = [record for record in records if (record.height, record.round) == (last.height, last.round)]
    if holder is None or holder in current:
        return tuple(current)
    return (holder, *current)


class VoteJournal:
    """The open journal of one validator key. One thread at a time."""

    def __init__(self, directory: Path, owner: JournalOwner, records: Sequence[VoteRecord]) -> None:
        """Start the file anew with `records`. The old file stays until the new one is durable, so a power
        cut leaves one of the two. Raises `StorageFailure`."""
        self._path = directory / JOURNAL_FILE
        self._owner = owner
        self._descriptor = -1
        self._size = 0
        self._digest = _START
        self._records: list[VoteRecord] = []
        self._usable = False
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise write_failed(directory, error) from error
        self._restart(records)

    @property
    def records(self) -> tuple[VoteRecord, ...]:
        """The durable records that the file holds, oldest first."""
        return tuple(self._records)

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return self._size

    def append(self, record: VoteRecord) -> None:
        """Make `record` durable. Raises `StorageFailure`; the journal then refuses everything after it.

        The order and sameness of votes are checked by `SigningState.record`, which calls this.
        """
        self._check_usable()
        payload = record.encode()
        if self._size + _FRAME_HEAD + len(payload) > MAX_JOURNAL_BYTES:
            self._restart(records_that_matter(self._records))
        frame, digest = _frame(self._digest, payload)
        failpoints.reach("journal.before_append")
        self._usable = False  # until the sync below has returned
        write_fully(self._descriptor, frame, self._size, self._path)
        failpoints.reach("journal.after_append")
        sync_data(self._descriptor, self._path)
        failpoints.reach("journal.after_sync")
        self._usable = True
        self._size += len(frame)
        self._digest = digest
        self._records.append(record)

    def rotate(self) -> bool:
        """After a decided height: start the file again when it has grown long. True when it did."""
        self._check_usable()
        if self._size <= JOURNAL_ROTATE_BYTES:
            return False
        self._restart(self._records[-1:])
        return True

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._usable = False

    def _restart(self, records: Sequence[VoteRecord]) -> None:
        self._usable = False
        data, digest = _frame(_START, encode(self._owner))
        for record in records:
            frame, digest = _frame(digest, record.encode())
            data += frame
        replace_file(self._path, data)
        failpoints.reach("journal.after_rotate")
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise write_failed(self._path, error) from error
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size, self._digest, self._records = len(data), digest, list(records)
        self._usable = True

    def _check_usable(self) -> None:
        if not self._usable:
            message = f"an earlier write of {self._path} failed, or it is closed: restart the node"
            raise StorageFailure("STORAGE_POISONED", message, path=str(self._path))


def _frame(digest: bytes, payload: bytes) -> tuple[bytes, bytes]:
    next_digest = _hash_frame(digest + payload)
    return len(payload).to_bytes(4, "big") + next_digest[:_CHECKSUM_BYTES] + payload, next_digest
