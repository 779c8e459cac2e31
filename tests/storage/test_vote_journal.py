"""The vote journal and the watermark as files: durable, bounded, and silent after a failed write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from primitives.certificate import STEP_COMMIT, STEP_PREPARE, STEP_PROPOSAL, STEP_ROUND_CHANGE
from primitives.errors import StorageFailure
from storage import vote_journal
from storage.signing_state import open_signing_state
from storage.vote_journal import JournalOwner, VoteJournal, parse_journal, read_journal, records_that_matter
from storage.watermark import Watermark, create_watermark, parse_slot
from tests.storage.votes import CHAIN, KEY, lock, run_of_votes, vote

OWNER = JournalOwner(1, CHAIN, KEY)


def spy_on_writes(monkeypatch: pytest.MonkeyPatch, see: Callable[[str, str], None]) -> None:
    """Tell `see` of every write and sync, with the name of the file."""
    real_write, real_sync = os.pwrite, os.fdatasync

    def name(descriptor: int) -> str:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    def write(descriptor: int, data: bytes, offset: int) -> int:
        see("write", name(descriptor))
        return real_write(descriptor, data, offset)

    def sync(descriptor: int) -> None:
        see("sync", name(descriptor))
        real_sync(descriptor)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fdatasync", sync)


def test_records_are_read_back_in_order(tmp_path: Path) -> None:
    journal = VoteJournal(tmp_path, OWNER, ())
    for record in run_of_votes():
        journal.append(record)
    journal.close()
    contents = read_journal(tmp_path)
    assert contents.owner == OWNER
    assert contents.records == tuple(run_of_votes())
    assert contents.damage is None


def test_every_append_is_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    spy_on_writes(monkeypatch, lambda step, name: steps.append(step))
    journal = VoteJournal(tmp_path, OWNER, ())
    steps.clear()
    journal.append(vote(1, 0, STEP_PREPARE))
    assert steps == ["write", "sync"]
    journal.close()


def test_the_journal_is_synced_before_the_watermark_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_watermark(tmp_path / "watermark", CHAIN, KEY)
    state = open_signing_state(tmp_path / "journal", tmp_path / "watermark", CHAIN, KEY)
    steps: list[tuple[str, str]] = []
    spy_on_writes(monkeypatch, lambda step, name: steps.append((step, name.split("-")[0])))
    state.record(vote(1, 0, STEP_PREPARE))
    assert steps == [
        ("write", "votes.journal"),
        ("sync", "votes.journal"),
        ("write", "slot"),
        ("sync", "slot"),
    ]
    state.close()


def test_a_failed_sync_refuses_everything_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = VoteJournal(tmp_path, OWNER, ())

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StorageFailure, match="STORAGE_WRITE_FAILED"):
        journal.append(vote(1, 0, STEP_PREPARE))
    monkeypatch.undo()
    with pytest.raises(StorageFailure, match="STORAGE_POISONED"):
        journal.append(vote(1, 0, STEP_PREPARE))
    journal.close()


def test_a_failed_watermark_refuses_everything_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_watermark(tmp_path / "w", CHAIN, KEY)
    watermark = Watermark(tmp_path / "w", CHAIN, KEY)
    watermark.reset(None)

    def fail(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(StorageFailure, match="No space left"):
        watermark.write(vote(1, 0, STEP_PREPARE))
    monkeypatch.undo()
    with pytest.raises(StorageFailure, match="STORAGE_POISONED"):
        watermark.write(vote(1, 0, STEP_PREPARE))
    watermark.close()


def test_a_decided_height_rotates_a_long_journal_and_keeps_the_last_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vote_journal, "JOURNAL_ROTATE_BYTES", 1000)
    create_watermark(tmp_path / "w", CHAIN, KEY)
    state = open_signing_state(tmp_path / "j", tmp_path / "w", CHAIN, KEY)
    for height in range(1, 40):
        state.record(vote(height, 0, STEP_PREPARE))
        state.record(vote(height, 0, STEP_COMMIT, lock(height)))
        state.height_decided(height)
        assert (tmp_path / "j" / "votes.journal").stat().st_size < 3000
    state.close()
    assert read_journal(tmp_path / "j").last == vote(39, 0, STEP_COMMIT, lock(39))


def test_a_journal_of_one_endless_height_stays_bounded_and_keeps_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vote_journal, "MAX_JOURNAL_BYTES", 4000)
    journal = VoteJournal(tmp_path, OWNER, ())
    journal.append(vote(7, 0, STEP_COMMIT, lock(7)))
    for round in range(1, 60):
        journal.append(vote(7, round, STEP_ROUND_CHANGE))
        assert journal.size_bytes <= 4000
    journal.close()
    contents = read_journal(tmp_path)
    assert contents.records[0].lock == lock(7)
    assert contents.last == vote(7, 59, STEP_ROUND_CHANGE)


def test_what_matters_is_the_last_round_and_the_holder_of_the_lock() -> None:
    kept = records_that_matter(run_of_votes())
    assert [record.position for record in kept] == [(2, 0, STEP_COMMIT), (2, 2, STEP_ROUND_CHANGE)]
    assert records_that_matter(()) == ()


def test_the_watermark_leaves_a_proposals_attachment_out(tmp_path: Path) -> None:
    create_watermark(tmp_path / "w", CHAIN, KEY)
    watermark = Watermark(tmp_path / "w", CHAIN, KEY)
    record = structs.replace(vote(1, 0, STEP_PROPOSAL), attachment=b"")
    watermark.reset(record)
    watermark.close()
    slot = parse_slot((tmp_path / "w" / "slot-0").read_bytes(), 0)
    assert slot is not None
    assert slot.record == record


def test_a_slot_in_the_other_slots_place_is_bad(tmp_path: Path) -> None:
    create_watermark(tmp_path / "w", CHAIN, KEY)
    data = (tmp_path / "w" / "slot-0").read_bytes()
    assert parse_slot(data, 0) is not None
    assert parse_slot(data, 1) is None


def test_garbage_is_an_empty_journal_with_a_reason() -> None:
    contents = parse_journal(b"\x00\x00\x00\x05garbage that is long enough to be looked at")
    assert contents.records == ()
    assert contents.owner is None
    assert contents.damage is not None


def test_a_journal_is_private(tmp_path: Path) -> None:
    VoteJournal(tmp_path / "j", OWNER, ()).close()
    assert (tmp_path / "j").stat().st_mode & 0o077 == 0
    assert (tmp_path / "j" / "votes.journal").stat().st_mode & 0o077 == 0
