"""Moving the memory of a key to another machine: retired here for good, adopted there once.

Promises: what leaves is read after the old watermark was marked as retired, durably; the same heir may be
given it again (a lost file), nobody else ever. Adopting refuses whatever is older than what the directories
already know, so a key that went from A to B and back can't be turned back by the first file. A power cut
during either step leaves a machine that signs nothing, and the step can be repeated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from consensus.journal import VoteRecord
from primitives.errors import InvariantViolation, StorageFailure
from storage.files import lock_exclusively, sync_directory, write_failed
from storage.retirement import Retirement, refuse_retired
from storage.signing_state import RecoveredSigner, open_signing_state
from storage.vote_journal import JOURNAL_VERSION, JournalOwner, VoteJournal, read_journal, records_that_matter
from storage.watermark import (
    LOCK_FILE,
    SLOT_FILES,
    WATERMARK_VERSION,
    Slot,
    complete_retirement,
    read_watermark,
    write_slot,
)


@dataclass(frozen=True, slots=True)
class SigningMemory:
    """How far a key has signed: `records` as a journal keeps them, oldest first, `last` the highest one.

    `sequence` counts the watermark's writes over all machines of the key.
    """

    sequence: int
    records: tuple[VoteRecord, ...]
    last: VoteRecord | None


def retire_key(
    journal_directory: Path, watermark_directory: Path, chain_id: bytes, public_key: bytes, heir: bytes
) -> SigningMemory:
    """Retire the key here and return what `heir` must know. Nothing may hold the directories. Blocking.

    Raises `StorageFailure` (STORAGE_LOCKED while a node or signer runs; SIGNER_RETIRED when another heir was
    named; as `open_signing_state`) and `SigningRefused` SIGN_QUARANTINED.
    """
    if watermark_directory.is_dir() and read_watermark(watermark_directory).is_retired:
        return _retired_before(journal_directory, watermark_directory, chain_id, public_key, heir)
    state = open_signing_state(journal_directory, watermark_directory, chain_id, public_key)
    try:
        last, recovery = state.last, state.recovery
        mark = state.retire(heir)
    finally:
        state.close()
    if not isinstance(recovery, RecoveredSigner):
        raise InvariantViolation("SIGN_NOT_RETIRED", "a state in quarantine was retired")
    return SigningMemory(mark.sequence, _records(recovery.records, last), last)


def _retired_before(
    journal_directory: Path, watermark_directory: Path, chain_id: bytes, public_key: bytes, heir: bytes
) -> SigningMemory:
    lock = lock_exclusively(watermark_directory / LOCK_FILE)
    try:
        mark = read_watermark(watermark_directory).retirement
        if mark is None or mark.heir != heir or (mark.chain_id, mark.public_key) != (chain_id, public_key):
            raise refuse_retired(str(watermark_directory), mark)
        complete_retirement(watermark_directory, mark)
    finally:
        os.close(lock)
    records = read_journal(journal_directory).records
    return SigningMemory(mark.sequence, _records(records, mark.record), mark.record)


def _records(records: tuple[VoteRecord, ...], last: VoteRecord | None) -> tuple[VoteRecord, ...]:
    positions = {record.position for record in records}
    if last is not None and last.position not in positions:
        records = (*records, last)
    return records_that_matter(records)


def adopt_key(
    journal_directory: Path,
    watermark_directory: Path,
    chain_id: bytes,
    public_key: bytes,
    memory: SigningMemory,
) -> None:
    """Make journal and watermark of a key that moved here. Blocking; may be repeated after a power cut.

    Raises `StorageFailure`: WATERMARK_EXISTS when a key signs here already, WATERMARK_FOREIGN or
    JOURNAL_FOREIGN for those of another key, SIGNER_EXPORT_OLD when this machine knows more than `memory`.
    """
    try:
        watermark_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise write_failed(watermark_directory, error) from error
    lock = lock_exclusively(watermark_directory / LOCK_FILE)
    try:
        record = None if memory.last is None else memory.last.without_attachment()
        slots = [
            Slot(WATERMARK_VERSION, chain_id, public_key, memory.sequence + step, record)
            for step in range(1, len(SLOT_FILES) + 1)
        ]
        _check_watermark(watermark_directory, slots, memory)
        owner = JournalOwner(JOURNAL_VERSION, chain_id, public_key)
        _check_journal(journal_directory, owner, memory)
        VoteJournal(journal_directory, owner, memory.records).close()
        for slot in slots:
            write_slot(watermark_directory, slot)
        sync_directory(watermark_directory.parent)
    finally:
        os.close(lock)


def _check_watermark(directory: Path, wanted: list[Slot], memory: SigningMemory) -> None:
    """Only emptiness, an older retirement of this key, or half of this very import may lie there."""
    contents = read_watermark(directory)
    owner = (wanted[0].chain_id, wanted[0].public_key)
    if contents.is_retired:
        mark: Retirement | None = contents.retirement
        if mark is None:
            raise refuse_retired(str(directory), None)
        if (mark.chain_id, mark.public_key) != owner:
            message = f"{directory} belongs to another chain or key ({mark.public_key.hex()})"
            raise StorageFailure("WATERMARK_FOREIGN", message, path=str(directory))
        if mark.sequence >= memory.sequence:
            raise _older(directory)
    present = [slot for slot in contents.slots if slot is not None]
    files = sum((directory / name).exists() for name in SLOT_FILES)
    half_done = len(present) == 1 and present[0] in wanted
    if (present and not half_done) or (files and not present and not contents.is_retired):
        message = f"{directory} already holds a watermark: a key signs here, or did; nothing is put over it"
        raise StorageFailure("WATERMARK_EXISTS", message, path=str(directory))


def _check_journal(directory: Path, owner: JournalOwner, memory: SigningMemory) -> None:
    found = read_journal(directory)
    if found.owner is not None and found.owner != owner:
        message = f"{directory} is the journal of another chain or key ({found.owner.public_key.hex()})"
        raise StorageFailure("JOURNAL_FOREIGN", message, path=str(directory))
    known = (-1, 0, 0) if memory.last is None else memory.last.position
    if found.last is not None and found.last.position > known:
        raise _older(directory)


def _older(directory: Path) -> StorageFailure:
    message = f"this file is older than what {directory} knows: the key has signed, or moved on, since"
    return StorageFailure("SIGNER_EXPORT_OLD", message, path=str(directory))
