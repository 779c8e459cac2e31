"""A key moves from one machine to another: retired for good here, adopted once there, never turned back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from primitives.certificate import STEP_COMMIT, STEP_PREPARE
from primitives.errors import StorageFailure
from storage import signing_move, watermark
from storage.retirement import encode_retirement, parse_retirement
from storage.signing_move import SigningMemory, adopt_key, retire_key
from storage.signing_state import SigningRefused, SigningState, open_signing_state
from storage.watermark import create_watermark, read_watermark
from tests.storage.votes import CHAIN, KEY, run_of_votes, vote

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))  # machines


class Machine:
    def __init__(self, folder: Path) -> None:
        self.journal, self.watermark = folder / "votes", folder / "watermark"

    def open(self) -> SigningState:
        return open_signing_state(self.journal, self.watermark, CHAIN, KEY)

    def sign(self, *votes: Any) -> None:
        state = self.open()
        for record in votes:
            state.record(record)
        state.close()

    def retire(self, heir: bytes) -> SigningMemory:
        return retire_key(self.journal, self.watermark, CHAIN, KEY, heir)

    def adopt(self, memory: SigningMemory) -> None:
        adopt_key(self.journal, self.watermark, CHAIN, KEY, memory)


def code_of(action: Callable[..., object], *arguments: object) -> str:
    with pytest.raises((StorageFailure, SigningRefused)) as failure:
        action(*arguments)
    code: str = failure.value.code
    return code


@pytest.fixture
def old(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "old")
    create_watermark(machine.watermark, CHAIN, KEY)
    machine.sign(*run_of_votes())
    return machine


@pytest.fixture
def new(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "new")


def test_the_new_machine_signs_above_the_last_vote_and_only_there(old: Machine, new: Machine) -> None:
    memory = old.retire(B)
    last = run_of_votes()[-1]
    assert memory.last is not None
    assert memory.last.position == last.position
    new.adopt(memory)
    state = new.open()
    state.record(last)  # the same vote again
    assert code_of(state.record, vote(1, 0, STEP_PREPARE)) == "SIGN_REGRESSION"
    state.record(vote(last.height + 1, 0, STEP_COMMIT))
    state.close()


def test_the_old_machine_never_signs_again(old: Machine) -> None:
    old.retire(B)
    for _ in range(2):
        assert code_of(old.open) == "SIGNER_RETIRED"


def test_a_key_that_has_signed_nothing_moves_as_well(tmp_path: Path, new: Machine) -> None:
    fresh = Machine(tmp_path / "fresh")
    create_watermark(fresh.watermark, CHAIN, KEY)
    new.adopt(fresh.retire(B))
    new.sign(vote(1, 0, STEP_PREPARE))


def test_the_same_heir_is_given_it_again_and_nobody_else(old: Machine) -> None:
    first = old.retire(B)
    assert old.retire(B) == first
    assert code_of(old.retire, C) == "SIGNER_RETIRED"


def test_what_a_running_signer_holds_is_not_retired(old: Machine) -> None:
    state = old.open()
    assert code_of(old.retire, B) == "STORAGE_LOCKED"
    state.close()


def test_a_signer_in_quarantine_is_not_retired(old: Machine) -> None:
    for name in ("slot-0", "slot-1"):
        (old.watermark / name).write_bytes(b"lost")
    assert code_of(old.retire, B) == "SIGN_QUARANTINED"
    assert not read_watermark(old.watermark).is_retired


def test_a_file_is_adopted_once(old: Machine, new: Machine) -> None:
    memory = old.retire(B)
    new.adopt(memory)
    assert code_of(new.adopt, memory) == "WATERMARK_EXISTS"
    new.sign(vote(9, 0, STEP_PREPARE))
    assert code_of(new.adopt, memory) == "WATERMARK_EXISTS"


def test_a_lost_watermark_does_not_let_the_old_file_in_again(old: Machine, new: Machine) -> None:
    memory = old.retire(B)
    new.adopt(memory)
    new.sign(vote(9, 0, STEP_PREPARE))
    for path in new.watermark.iterdir():
        path.unlink()
    assert code_of(new.adopt, memory) == "SIGNER_EXPORT_OLD"


def test_a_key_comes_back_and_no_earlier_file_turns_it_back(old: Machine, new: Machine) -> None:
    there = old.retire(B)
    new.adopt(there)
    back = new.retire(A)
    assert code_of(new.adopt, there) == "SIGNER_EXPORT_OLD"
    old.adopt(back)
    old.sign(vote(9, 0, STEP_PREPARE))
    again = old.retire(B)
    assert code_of(old.adopt, back) == "SIGNER_EXPORT_OLD"
    new.adopt(again)
    assert code_of(new.open().record, vote(8, 0, STEP_PREPARE)) == "SIGN_REGRESSION"


def test_the_watermark_of_another_key_is_left_alone(old: Machine, tmp_path: Path) -> None:
    memory = old.retire(B)
    other = Machine(tmp_path / "other")
    create_watermark(other.watermark, CHAIN, bytes(32))
    assert code_of(other.adopt, memory) == "WATERMARK_EXISTS"


@pytest.mark.parametrize("writes", [1, 2])
def test_a_power_cut_while_retiring_leaves_a_machine_that_signs_nothing_or_all_as_before(
    old: Machine, new: Machine, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = watermark.replace_file  # type: ignore[attr-defined]
    done: list[Path] = []

    def cut(path: Path, data: bytes) -> None:
        if path.name.startswith("slot-") and parse_retirement(data) is not None:
            if len(done) == writes - 1:
                raise StorageFailure("POWER_CUT", "dark")
            done.append(path)
        real(path, data)

    monkeypatch.setattr(watermark, "replace_file", cut)
    assert code_of(old.retire, B) == "POWER_CUT"
    monkeypatch.undo()
    if writes == 1:
        old.sign(vote(9, 0, STEP_PREPARE))  # not retired: nothing has left
    else:
        assert code_of(old.open) == "SIGNER_RETIRED"
    new.adopt(old.retire(B))
    assert code_of(old.open) == "SIGNER_RETIRED"


@pytest.mark.parametrize("lost", ["slot-0", "slot-1"])
def test_one_bad_slot_after_a_retirement_that_a_power_cut_broke_does_not_bring_the_key_back(
    old: Machine, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = watermark.replace_file  # type: ignore[attr-defined]
    marks: list[Path] = []

    def cut(path: Path, data: bytes) -> None:
        if parse_retirement(data) is not None:
            if marks:
                raise StorageFailure("POWER_CUT", "dark")
            marks.append(path)
        real(path, data)

    monkeypatch.setattr(watermark, "replace_file", cut)
    assert code_of(old.retire, B) == "POWER_CUT"
    monkeypatch.undo()
    memory = old.retire(B)  # now the heir has it
    (old.watermark / lost).write_bytes(b"lost")
    assert code_of(old.open) == "SIGNER_RETIRED"
    assert old.retire(B) == memory


@pytest.mark.parametrize("writes", [0, 1])
def test_a_power_cut_while_adopting_can_be_repeated_and_signs_nothing_before(
    old: Machine, new: Machine, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, real = old.retire(B), watermark.write_slot
    done: list[watermark.Slot] = []

    def cut(directory: Path, slot: watermark.Slot) -> None:
        if len(done) == writes:
            raise StorageFailure("POWER_CUT", "dark")
        done.append(slot)
        real(directory, slot)

    monkeypatch.setattr(signing_move, "write_slot", cut)
    assert code_of(new.adopt, memory) == "POWER_CUT"
    monkeypatch.undo()
    new.adopt(memory)
    new.sign(vote(9, 0, STEP_PREPARE))


def test_a_mark_with_any_flipped_byte_still_signs_nothing(old: Machine) -> None:
    old.retire(B)
    data = (old.watermark / "slot-0").read_bytes()
    for place in range(8, 60):
        (old.watermark / "slot-0").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert code_of(old.open) == "SIGNER_RETIRED"


def test_a_mark_reads_back_as_written(old: Machine) -> None:
    old.retire(B)
    mark = read_watermark(old.watermark).retirement
    assert mark is not None
    assert parse_retirement(encode_retirement(mark)) == mark
    assert mark.heir == B
