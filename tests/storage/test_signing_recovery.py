"""After any single damage, and after damage to the journal together with one slot, a validator may forget how
to go on, but never signs a second payload for a step it has signed (docs/storage.md, "Votes")."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.journal import VoteRecord, lock_of
from primitives.certificate import STEP_COMMIT, STEP_PREPARE, STEP_ROUND_CHANGE
from primitives.errors import StorageFailure
from storage.signing_state import (
    Quarantine,
    RecoveredSigner,
    Recovery,
    SigningRefused,
    SigningState,
    open_signing_state,
    recover_signing_state,
)
from storage.vote_journal import JOURNAL_FILE, JournalContents, parse_journal
from storage.watermark import SLOT_FILES, Slot, WatermarkContents, create_watermark, parse_slot
from tests.storage.votes import CHAIN, KEY, lock, run_of_votes, vote

VOTES = run_of_votes()


class Images:
    """The bytes of journal and slots after each step of a run, as a power cut would leave them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        create_watermark(folder / "watermark", CHAIN, KEY)

    def journal(self) -> bytes:
        return (self._folder / "journal" / JOURNAL_FILE).read_bytes()

    def slots(self) -> tuple[bytes, bytes]:
        first, second = ((self._folder / "watermark" / name).read_bytes() for name in SLOT_FILES)
        return first, second

    def open(self) -> SigningState:
        return open_signing_state(self._folder / "journal", self._folder / "watermark", CHAIN, KEY)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path)


def recover(journal: bytes, slots: tuple[bytes | None, bytes | None]) -> Recovery:
    first, second = (parse_slot(data, side) for side, data in enumerate(slots))
    return recover_signing_state(parse_journal(journal), WatermarkContents((first, second)))


def assert_never_signs_twice(outcome: Recovery, signed: VoteRecord) -> None:
    """Either nothing may be signed, or only above `signed` (or `signed` itself again)."""
    if isinstance(outcome, Quarantine):
        return
    last = outcome.last
    assert last is not None
    assert last.position >= signed.position
    if last.position == signed.position:
        assert last.payload_hash == signed.payload_hash
    if signed.lock is not None and last.height == signed.height:
        records = outcome.records + ((outcome.watermark,) if outcome.watermark else ())
        held = lock_of(records, signed.height)
        assert held is not None
        assert held.round >= signed.lock.round


def signed_runs(images: Images) -> Iterator[tuple[VoteRecord, bytes, tuple[bytes, bytes]]]:
    """After every vote of the run: the vote, and what is on disk then."""
    state = images.open()
    for record in VOTES:
        state.record(record)
        yield record, images.journal(), images.slots()
    state.close()


def used_bytes(slot: bytes) -> int:
    """Magic, length, checksum and payload; what lies behind is left over from longer records."""
    return 44 + int.from_bytes(slot[8:12], "big")


def flipped(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes((data[position] ^ (1 << bit),)) + data[position + 1 :]


def test_an_undamaged_memory_recovers_the_last_vote(images: Images) -> None:
    for record, journal, slots in signed_runs(images):
        outcome = recover(journal, slots)
        assert isinstance(outcome, RecoveredSigner)
        assert outcome.last == record
        assert outcome.note is None


def test_a_journal_cut_at_any_byte_never_leads_to_a_second_vote(images: Images) -> None:
    for record, journal, slots in signed_runs(images):
        for length in range(len(journal)):
            outcome = recover(journal[:length], slots)
            assert isinstance(outcome, RecoveredSigner)  # both slots are good: nobody has to be quarantined
            assert_never_signs_twice(outcome, record)


def test_a_journal_with_any_byte_flipped_never_leads_to_a_second_vote(images: Images) -> None:
    for record, journal, slots in signed_runs(images):
        for position in range(len(journal)):
            outcome = recover(flipped(journal, position, position % 8), slots)
            assert_never_signs_twice(outcome, record)


def test_a_slot_with_any_byte_flipped_never_leads_to_a_second_vote(images: Images) -> None:
    *_, (record, journal, slots) = signed_runs(images)
    for side in range(2):
        for position in range(used_bytes(slots[side])):
            damaged = [*slots]
            damaged[side] = flipped(slots[side], position, position % 8)
            assert parse_slot(damaged[side], side) is None
            assert_never_signs_twice(recover(journal, (damaged[0], damaged[1])), record)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_cut_journal_with_a_missing_slot_never_leads_to_a_second_vote(images: Images, missing: int) -> None:
    for record, journal, slots in signed_runs(images):
        left: tuple[bytes | None, bytes | None] = (None, slots[1]) if missing == 0 else (slots[0], None)
        for length in range(len(journal) + 1):
            assert_never_signs_twice(recover(journal[:length], left), record)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_flipped_journal_with_a_missing_slot_never_leads_to_a_second_vote(
    images: Images, missing: int
) -> None:
    for record, journal, slots in signed_runs(images):
        left: tuple[bytes | None, bytes | None] = (None, slots[1]) if missing == 0 else (slots[0], None)
        for position in range(0, len(journal), 3):
            assert_never_signs_twice(recover(flipped(journal, position), left), record)


def test_with_both_slots_missing_nothing_is_signed(images: Images) -> None:
    for record, journal, _ in signed_runs(images):
        outcome = recover(journal, (None, None))
        assert isinstance(outcome, Quarantine)
        assert outcome.floor == record


def test_a_slot_torn_while_it_is_written_is_recovered_through_the_journal(images: Images) -> None:
    before: tuple[bytes, bytes] | None = None
    for record, journal, slots in signed_runs(images):
        if before is not None:
            side = 0 if slots[0] != before[0] else 1
            for length in range(0, used_bytes(slots[side]), 7):
                torn = slots[side][:length] + before[side][length:]
                both = (torn, slots[1]) if side == 0 else (slots[0], torn)
                outcome = recover(journal, both)
                assert isinstance(outcome, RecoveredSigner)
                assert outcome.last == record
        before = slots


def test_the_newer_slot_lost_and_the_journal_not_above_the_older_is_quarantine(images: Images) -> None:
    runs = list(signed_runs(images))
    (_, journal_before, slots_before), (_, _, slots) = runs[-2], runs[-1]
    newer = 0 if slots[0] != slots_before[0] else 1
    left: tuple[bytes | None, bytes | None] = (None, slots[1]) if newer == 0 else (slots[0], None)
    outcome = recover(journal_before, left)
    assert isinstance(outcome, Quarantine)


def test_the_two_memories_naming_different_votes_for_a_step_is_quarantine() -> None:
    slot_side = _slot(vote(3, 0, STEP_PREPARE, variant=1))
    journal = JournalContents(records=(vote(3, 0, STEP_PREPARE, variant=2),))
    assert isinstance(recover_signing_state(journal, slot_side), Quarantine)


def test_a_watermark_ahead_of_the_journal_allows_signing_above_it_only(images: Images) -> None:
    state = images.open()
    for record in VOTES:
        state.record(record)
    state.close()
    (images._folder / "journal" / JOURNAL_FILE).unlink()
    again = images.open()
    assert isinstance(again.recovery, RecoveredSigner)
    assert again.recovery.note is not None
    assert again.last is not None
    assert again.last.position == VOTES[-1].position
    assert again.last.lock == lock(2)
    with pytest.raises(SigningRefused, match="SIGN_REGRESSION"):
        again.record(vote(2, 1, STEP_COMMIT))
    again.record(vote(2, 2, STEP_PREPARE, lock(2)))
    again.close()


def test_a_journal_ahead_of_the_watermark_lifts_it_before_anything_is_signed(images: Images) -> None:
    runs = list(signed_runs(images))
    (_, _, older_slots) = runs[-2]
    for name, data in zip(SLOT_FILES, older_slots, strict=True):
        (images._folder / "watermark" / name).write_bytes(data)
    state = images.open()
    assert state.last == VOTES[-1]
    for side, data in enumerate(images.slots()):
        slot = parse_slot(data, side)
        assert slot is not None
        assert slot.record == VOTES[-1]
    state.close()


def test_the_same_vote_is_signed_again_and_another_for_its_step_is_refused(images: Images) -> None:
    state = images.open()
    state.record(vote(1, 0, STEP_PREPARE))
    size = len(images.journal())
    state.record(vote(1, 0, STEP_PREPARE))
    assert len(images.journal()) == size
    with pytest.raises(SigningRefused, match="SIGN_REGRESSION"):
        state.record(vote(1, 0, STEP_PREPARE, variant=1))
    with pytest.raises(SigningRefused, match="SIGN_REGRESSION"):
        state.record(vote(1, 0, STEP_ROUND_CHANGE))
    assert len(images.journal()) == size
    state.close()


def test_in_quarantine_nothing_is_signed_until_it_is_left(images: Images) -> None:
    state = images.open()
    state.record(vote(5, 0, STEP_COMMIT, lock(5)))
    state.close()
    for name in SLOT_FILES:
        (images._folder / "watermark" / name).unlink()
    state = images.open()
    assert state.in_quarantine
    with pytest.raises(SigningRefused, match="SIGN_QUARANTINED"):
        state.record(vote(9, 0, STEP_PREPARE))
    state.leave_quarantine()
    with pytest.raises(SigningRefused, match="SIGN_REGRESSION"):
        state.record(vote(5, 0, STEP_PREPARE))
    state.record(vote(9, 0, STEP_PREPARE))
    state.close()
    again = images.open()
    assert again.last == vote(9, 0, STEP_PREPARE)
    again.close()


def test_a_key_that_never_signed_starts_free(images: Images) -> None:
    state = images.open()
    assert isinstance(state.recovery, RecoveredSigner)
    assert state.last is None
    state.close()


def test_a_watermark_of_another_key_is_refused(images: Images, tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="WATERMARK_FOREIGN"):
        open_signing_state(tmp_path / "journal", tmp_path / "watermark", CHAIN, bytes(32))


def test_a_journal_of_another_key_is_refused(images: Images, tmp_path: Path) -> None:
    images.open().close()
    create_watermark(tmp_path / "other", CHAIN, bytes(32))
    with pytest.raises(StorageFailure, match="JOURNAL_FOREIGN"):
        open_signing_state(tmp_path / "journal", tmp_path / "other", CHAIN, bytes(32))


def test_one_key_is_open_in_one_place_only(images: Images) -> None:
    state = images.open()
    with pytest.raises(StorageFailure, match="STORAGE_LOCKED"):
        images.open()
    state.close()
    images.open().close()


def test_init_never_replaces_a_watermark(images: Images, tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="WATERMARK_EXISTS"):
        create_watermark(tmp_path / "watermark", CHAIN, KEY)
    with pytest.raises(StorageFailure, match="WATERMARK_MISSING"):
        open_signing_state(tmp_path / "journal", tmp_path / "nowhere", CHAIN, KEY)


def _slot(record: VoteRecord) -> WatermarkContents:
    return WatermarkContents((Slot(1, CHAIN, KEY, 4, record), Slot(1, CHAIN, KEY, 3, None)))
