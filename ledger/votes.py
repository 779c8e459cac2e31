"""Validator votes: a state map (subject, voter) → (operation, expiry), and what it does at a block's end.

Promises: the latest vote of a voter on a subject stands alone; a vote past its expiry or by a removed
validator never counts; at most one change of the set a block, applied at a quorum of the set that voted, then
the subject's votes are cleared; the set never falls below `min_validators` and only a registered candidate
enters it (docs/consensus.md, "Validator set").
"""

from __future__ import annotations

from typing import NamedTuple

from ledger import codes
from ledger.state import CANDIDATE, SUSPENSION, VALIDATORS, VOTE, VOTE_SUBJECTS, StateReader, StateView
from primitives.codec import Record, decode_typed, encode
from primitives.errors import InvariantViolation
from primitives.keys import PublicKey
from primitives.limits import MAX_VALIDATORS, MAX_VOTE_SUBJECTS
from primitives.validators import ValidatorSet

VOTE_ADD = 0
VOTE_REMOVE = 1
VOTE_WITHDRAW = 2

_MAX_SUBJECTS_BYTES = 34 * MAX_VOTE_SUBJECTS + 8
_MAX_SET_BYTES = 34 * MAX_VALIDATORS + 32


class Vote(Record, frozen=True):
    """What one validator wants for one subject; it counts in blocks up to `expires` (inclusive)."""

    operation: int
    expires: int


class PendingVote(NamedTuple):
    """A standing vote, as `qbft_getPendingVotes` shows it."""

    subject: PublicKey
    voter: PublicKey
    add: bool
    expires: int


def validators_value(validators: ValidatorSet) -> bytes:
    """Value of the state's `VALIDATORS` entry: [epoch, keys]."""
    return encode([validators.epoch, list(validators.keys)])


def read_validators(reader: StateReader) -> ValidatorSet:
    """The set that decides the next block."""
    value = reader.get(VALIDATORS)
    if value is None:
        raise InvariantViolation("STATE_NO_VALIDATORS", "the state holds no validator set")
    return decode_validators(value)


def decode_validators(value: bytes) -> ValidatorSet:
    """The set in a `VALIDATORS` entry, which this program wrote. Raises `DecodeError`."""
    epoch, keys = decode_typed(value, tuple[int, tuple[bytes, ...]], max_bytes=_MAX_SET_BYTES)
    return ValidatorSet(epoch, tuple(PublicKey(key) for key in keys))


def cast_vote(
    view: StateView,
    validators: ValidatorSet,
    voter: bytes,
    subject: bytes,
    operation: int,
    expires: int,
    height: int,
) -> None:
    """Write the vote of `voter`, in the block of `height` that `validators` decide, into the state.

    Refuses (`InvalidTransaction`) a voter outside the set (TX_NOT_A_VALIDATOR), and (TX_VOTE_INVALID) an
    expiry that has passed, an addition of a member or of nobody's candidate, a removal of a stranger, and a
    withdrawal of a vote that does not stand."""
    if voter not in validators:
        codes.refuse(codes.NOT_A_VALIDATOR, f"{voter.hex()} is not a current validator", voter=voter.hex())
    if operation == VOTE_WITHDRAW:
        if view.get(VOTE + subject + voter) is None:
            codes.refuse(codes.VOTE_INVALID, f"there is no vote on {subject.hex()} to withdraw")
        _delete_vote(view, subject, voter)
        _forget_if_unvoted(view, subject, validators)
        return
    if operation not in (VOTE_ADD, VOTE_REMOVE):
        codes.refuse(codes.VOTE_INVALID, f"operation {operation}: add (0), remove (1) or withdraw (2)")
    if expires < height:
        codes.refuse(codes.VOTE_INVALID, f"the vote expires at {expires}, this is block {height}")
    if operation == VOTE_ADD and subject in validators:
        codes.refuse(codes.VOTE_INVALID, f"{subject.hex()} is in the set already")
    if operation == VOTE_ADD and view.get(CANDIDATE + subject) is None:
        codes.refuse(codes.VOTE_INVALID, f"{subject.hex()} is not a registered candidate")
    if operation == VOTE_REMOVE and subject not in validators:
        codes.refuse(codes.VOTE_INVALID, f"{subject.hex()} is not in the set")
    _remember_subject(view, subject)
    view.put(VOTE + subject + voter, encode(Vote(operation, expires)))


def apply_votes(view: StateView, validators: ValidatorSet, height: int, min_validators: int) -> ValidatorSet:
    """End of block `height`, decided by `validators`: apply at most one change, drop what expired; return
    the next height's set, which the state holds from now on."""
    _adopt_override(view, validators)
    for subject in _read_subjects(view):
        changed = _changed_set(view, subject, validators, height, min_validators)
        if changed is not None:
            view.put(VALIDATORS, validators_value(changed))
            _clear_subject(view, subject, validators)
            for voter in sorted(set(validators.keys) - set(changed.keys)):
                _clear_voter(view, voter)
            _drop_expired(view, changed, height)
            return changed
    _drop_expired(view, validators, height)
    return validators


def pending_votes(reader: StateReader) -> list[PendingVote]:
    """Every standing vote, ascending by subject and voter."""
    voters = read_validators(reader).keys
    votes = (
        (subject, voter, _read_vote(reader, subject, voter))
        for subject in _read_subjects(reader)
        for voter in voters
    )
    return [
        PendingVote(PublicKey(subject), voter, vote.operation == VOTE_ADD, vote.expires)
        for subject, voter, vote in votes
        if vote is not None
    ]


def _adopt_override(view: StateView, validators: ValidatorSet) -> None:
    """After a recovery override the deciding set is not the state's: it takes the state's place, and the
    votes and suspensions of whoever is no longer in it are void."""
    former = read_validators(view)
    if validators != former:
        for gone in sorted(set(former.keys) - set(validators.keys)):
            _clear_voter(view, gone)
            if view.get(SUSPENSION + gone) is not None:
                view.delete(SUSPENSION + gone)
        view.put(VALIDATORS, validators_value(validators))


def _changed_set(
    reader: StateReader, subject: bytes, validators: ValidatorSet, height: int, min_validators: int
) -> ValidatorSet | None:
    """The set after the change that a quorum wants for `subject`, or None when there is none to make."""
    member = subject in validators
    wanted = VOTE_REMOVE if member else VOTE_ADD
    votes = (_read_vote(reader, subject, voter) for voter in validators.keys)
    count = sum(vote is not None and vote.operation == wanted and vote.expires >= height for vote in votes)
    if count < validators.quorum:
        return None
    if member:
        keys = tuple(key for key in validators.keys if key != subject)
        allowed = len(keys) >= max(min_validators, 1)
    else:
        keys = tuple(sorted((*validators.keys, PublicKey(subject))))
        allowed = len(keys) <= MAX_VALIDATORS and reader.get(CANDIDATE + subject) is not None
    return ValidatorSet(validators.epoch + 1, keys) if allowed else None


def _drop_expired(view: StateView, voters: ValidatorSet, height: int) -> None:
    for subject in _read_subjects(view):
        for voter in voters.keys:
            vote = _read_vote(view, subject, voter)
            if vote is not None and vote.expires <= height:
                _delete_vote(view, subject, voter)
        _forget_if_unvoted(view, subject, voters)


def _clear_subject(view: StateView, subject: bytes, voters: ValidatorSet) -> None:
    for voter in voters.keys:
        _delete_vote(view, subject, voter)
    _write_subjects(view, [other for other in _read_subjects(view) if other != subject])


def _clear_voter(view: StateView, voter: PublicKey) -> None:
    for subject in _read_subjects(view):
        _delete_vote(view, subject, voter)


def _forget_if_unvoted(view: StateView, subject: bytes, voters: ValidatorSet) -> None:
    if all(view.get(VOTE + subject + voter) is None for voter in voters.keys):
        _write_subjects(view, [other for other in _read_subjects(view) if other != subject])


def _remember_subject(view: StateView, subject: bytes) -> None:
    subjects = _read_subjects(view)
    if subject in subjects:
        return
    if len(subjects) >= MAX_VOTE_SUBJECTS:
        codes.refuse(codes.VOTE_INVALID, f"votes on {MAX_VOTE_SUBJECTS} subjects stand already")
    _write_subjects(view, sorted([*subjects, subject]))


def _delete_vote(view: StateView, subject: bytes, voter: bytes) -> None:
    if view.get(VOTE + subject + voter) is not None:
        view.delete(VOTE + subject + voter)


def _read_vote(reader: StateReader, subject: bytes, voter: bytes) -> Vote | None:
    value = reader.get(VOTE + subject + voter)
    return None if value is None else decode_typed(value, Vote, max_bytes=32)


def _read_subjects(reader: StateReader) -> list[bytes]:
    value = reader.get(VOTE_SUBJECTS)
    return [] if value is None else decode_typed(value, list[bytes], max_bytes=_MAX_SUBJECTS_BYTES)


def _write_subjects(view: StateView, subjects: list[bytes]) -> None:
    view.put(VOTE_SUBJECTS, encode(subjects) if subjects else None)
