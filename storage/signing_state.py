"""What a validator may still sign after a restart, and the one door through which a vote becomes durable.

Rules (docs/consensus.md, "Durability"): journal fsync, then watermark fsync, then sign. After a restart the
watermark is brought up to the journal before anything is signed or sent; the same (height, round, step)
gives the same bytes; lower ones are refused; the lock is carried. `recover_signing_state` is a pure function
of what was read, and errs to one side: it may forbid a vote never sent, it never permits a second one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consensus.journal import VoteRecord
from primitives.errors import DrexError, InvariantViolation, StorageFailure
from storage.retirement import Retirement
from storage.vote_journal import (
    JOURNAL_VERSION,
    JournalContents,
    JournalOwner,
    VoteJournal,
    read_journal,
    records_that_matter,
)
from storage.watermark import Watermark, WatermarkContents


class SigningRefused(DrexError):
    """A vote that must not be signed. Codes SIGN_REGRESSION, SIGN_QUARANTINED, SIGN_MISMATCH; nothing was
    written."""


@dataclass(frozen=True, slots=True)
class RecoveredSigner:
    """Signing may go on above `last`; None means the key has signed nothing.

    `records` and `watermark` are what `consensus.inputs.Recovered` wants: the journal's records, oldest
    first, and the newest slot's. `note` says what was found when it was not the usual picture.
    """

    records: tuple[VoteRecord, ...]
    watermark: VoteRecord | None
    note: str | None = None

    @property
    def last(self) -> VoteRecord | None:
        """How far the key has signed."""
        return _higher(self.records, self.watermark)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Nothing may be signed: how far the key has signed is not known. `floor` is the highest record seen.

    It lasts until height T+2 is decided, T being the highest tip that a quorum of other validators reported
    at its start; then `SigningState.leave_quarantine` is called.
    """

    reason: str
    floor: VoteRecord | None


Recovery = RecoveredSigner | Quarantine


def recover_signing_state(journal: JournalContents, watermark: WatermarkContents) -> Recovery:
    """Decide from both memories how far the key has signed. Pure.

    Every signed vote is in the journal and then in one of the slots, which are overwritten in turn. So with
    both slots good the higher memory is the truth; with one bad the journal must be *above* the good one to
    prove that it has seen what the bad one held.
    """
    in_journal = journal.last
    newest = watermark.newest
    in_slot = newest.record if newest else None
    floor = _higher(journal.records, in_slot)
    if newest is None:
        return Quarantine("both slots of the sign watermark are bad or missing", floor)
    if watermark.damaged:
        if in_journal is None or (in_slot is not None and in_journal.position <= in_slot.position):
            reason = "one slot of the sign watermark is bad and the journal is not above the other"
            return Quarantine(reason, floor)
        note = "one slot of the sign watermark was bad; the journal is above the other"
        return RecoveredSigner(journal.records, in_slot, note)
    if in_slot is None or (in_journal is not None and in_journal.position > in_slot.position):
        return RecoveredSigner(journal.records, in_slot)
    if in_journal is None or in_journal.position < in_slot.position:
        found = journal.damage or "it ends earlier"
        note = f"the sign watermark is ahead of the journal ({found}): signing above it only"
        return RecoveredSigner(journal.records, in_slot, note)
    if in_journal.payload_hash != in_slot.payload_hash:
        return Quarantine("journal and sign watermark name different votes for one step", floor)
    return RecoveredSigner(journal.records, in_slot)


def _higher(records: tuple[VoteRecord, ...], in_slot: VoteRecord | None) -> VoteRecord | None:
    """The record of the highest position; of equals the journal's, which still has its attachment."""
    candidates = records if in_slot is None else (*records, in_slot)
    return max(candidates, key=lambda record: record.position, default=None)


class SigningState:
    """Journal and watermark of one key, opened together. One thread at a time."""

    def __init__(self, journal_directory: Path, watermark: Watermark, owner: JournalOwner) -> None:
        """Recover and, unless in quarantine, bring both memories level. See `open_signing_state`."""
        self._directory = journal_directory
        self._owner = owner
        self._watermark = watermark
        self._journal: VoteJournal | None = None
        self._last: VoteRecord | None = None
        self.recovery = self._recover()
        if isinstance(self.recovery, RecoveredSigner):
            self._begin(self.recovery.records, self.recovery.last)

    @property
    def last(self) -> VoteRecord | None:
        """How far the key has signed: the last durable record. None before the first, and in quarantine."""
        return self._last

    @property
    def chain_id(self) -> bytes:
        """The chain that the key signs for."""
        return self._owner.chain_id

    @property
    def in_quarantine(self) -> bool:
        """True while nothing may be signed."""
        return self._journal is None

    def record(self, record: VoteRecord) -> None:
        """Make a vote durable in journal and watermark; sign `record.payload_hash` only after this returned.

        Blocking: call it from a thread, one call after another. A vote that is already the last one (same
        position, same hash) is not written again. Raises `SigningRefused` (SIGN_REGRESSION for a vote at or
        below the last one, SIGN_QUARANTINED) and `StorageFailure` when a write fails: stop and recover.
        """
        journal, last = self._journal, self._last
        if journal is None:
            raise SigningRefused(
                "SIGN_QUARANTINED", "how far this key has signed is not known: in quarantine"
            )
        if last is not None and record.position <= last.position:
            if record.position == last.position and record.payload_hash == last.payload_hash:
                return
            message = f"{record.position} is not above {last.position}, which was signed"
            raise SigningRefused("SIGN_REGRESSION", message)
        journal.append(record)
        self._watermark.write(record)
        self._last = record

    def height_decided(self, height: int) -> None:
        """Tell that `height` is final and stored: the journal may start again. Raises `StorageFailure`."""
        if self._journal is not None and self._last is not None and self._last.height <= height:
            self._journal.rotate()

    def leave_quarantine(self) -> None:
        """Sign again, above the floor. The caller has seen height T+2 decided, signs at greater heights only,
        and calls this once. Raises `StorageFailure`, and `InvariantViolation` when there is no quarantine."""
        if not isinstance(self.recovery, Quarantine) or self._journal is not None:
            raise InvariantViolation("SIGN_NOT_QUARANTINED", "there is no quarantine to leave")
        floor = self.recovery.floor
        self._begin((floor,) if floor else (), floor)

    def retire(self, heir: bytes) -> Retirement:
        """Sign nothing any more, for good and durably: `heir` (a peer key) continues with what this key has
        signed. Raises `SigningRefused` SIGN_QUARANTINED, and `StorageFailure`."""
        if self._journal is None:
            message = "how far this key has signed is not known: in quarantine; run the node until it is over"
            raise SigningRefused("SIGN_QUARANTINED", message)
        self._journal.close()
        self._journal = None
        return self._watermark.retire(heir)

    def close(self) -> None:
        """Close both files. Idempotent."""
        if self._journal is not None:
            self._journal.close()
        self._watermark.close()

    def _recover(self) -> Recovery:
        contents = read_journal(self._directory)
        owner = contents.owner
        if owner is not None and owner != self._owner:
            message = f"{self._directory} is the journal of another chain or key ({owner.public_key.hex()})"
            raise StorageFailure("JOURNAL_FOREIGN", message, path=str(self._directory))
        return recover_signing_state(contents, self._watermark.contents)

    def _begin(self, records: tuple[VoteRecord, ...], last: VoteRecord | None) -> None:
        """Write both anew and level, the journal first: the same order as for a vote."""
        if last is not None and last not in records:
            records = (*records, last)
        self._journal = VoteJournal(self._directory, self._owner, records_that_matter(records))
        self._watermark.reset(last)
        self._last = last


def open_signing_state(
    journal_directory: Path, watermark_directory: Path, chain_id: bytes, public_key: bytes
) -> SigningState:
    """Open, recover, and bring both memories level; `.recovery` tells the outcome. Blocking.

    Raises `StorageFailure`: WATERMARK_MISSING, WATERMARK_FOREIGN, JOURNAL_FOREIGN, STORAGE_LOCKED,
    SIGNER_RETIRED, ….
    """
    watermark = Watermark(watermark_directory, chain_id, public_key)
    try:
        return SigningState(journal_directory, watermark, JournalOwner(JOURNAL_VERSION, chain_id, public_key))
    except BaseException:
        watermark.close()
        raise
