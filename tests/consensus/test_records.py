"""Vote records: what journal and watermark hold reads back as what it was, and nothing else is read."""

from __future__ import annotations

import pytest
from msgspec import structs

from consensus.effects import Decide, Persist
from consensus.inputs import Recovered, SigningFailed, StartHeight, TimerKind, VoteSigned
from consensus.journal import VoteRecord, decode_record, last_record, lock_of
from primitives.errors import DecodeError
from tests.consensus.engine import Engine, of_type


def _records(me: str = "A") -> list[VoteRecord]:
    """What A, proposer of round 0, has on disk after round 0 prepared and timed out."""
    engine = Engine(me=me)
    engine.start()
    engine.expire(TimerKind.EMPTY_BLOCK)
    for author in "BC":
        engine.say(f"PREPARE {author} r0 own")
    engine.expire(TimerKind.ROUND)
    return [effect.record for effect in of_type(engine.effects, Persist) if isinstance(effect, Persist)]


def test_records_of_every_step_read_back_as_they_were() -> None:
    records = _records()
    assert [record.step for record in records] == [1, 2, 3, 0]
    for record in records:
        assert decode_record(record.encode()) == record
        assert decode_record(record.without_attachment().encode()) == record.without_attachment()
    assert [bool(record.attachment) for record in records] == [True, False, False, False]


def test_the_lock_is_in_the_commit_and_in_every_later_record() -> None:
    records = _records()
    assert [record.lock is not None for record in records] == [False, False, True, True]
    lock = lock_of(records, 1)
    assert lock is not None
    assert lock.is_complete
    assert lock_of(records, 2) is None
    assert last_record(records) == records[-1]


def test_a_complete_lock_counts_before_a_merely_named_one() -> None:
    record = _records()[2]
    assert record.lock is not None
    named = structs.replace(record, lock=structs.replace(record.lock, header=None, prepares=()))
    for order in ([record, named], [named, record]):
        assert lock_of(order, 1) == record.lock


def test_records_of_another_version_step_or_attachment_are_refused() -> None:
    record = _records()[0]
    prepare = Engine().message("PREPARE B r0 x")
    for wrong in (
        structs.replace(record, version=2),
        structs.replace(record, step=4),
        structs.replace(record, step=-1),
        structs.replace(record, attachment=prepare),
        structs.replace(record, attachment=b"\x01"),
    ):
        with pytest.raises(DecodeError):
            decode_record(wrong.encode())


def _restarted(
    records: tuple[VoteRecord, ...], me: str = "A", follower: bool = False, answers: bool = True
) -> Engine:
    engine = Engine(me=me, follower=follower)
    engine.answers = answers
    order = tuple(engine.cast.keys[name].public_key for name in engine.cast.names)
    engine.feed(
        StartHeight(1, engine.cast.genesis, None, engine.cast.validators, order, False, Recovered(records))
    )
    return engine


def test_a_proposal_is_signed_again_from_its_record_byte_for_byte() -> None:
    records = _records()
    engine = _restarted(tuple(records[:1]))
    (again, *_) = of_type(engine.effects, Persist)
    assert isinstance(again, Persist)
    assert again.record == records[0]


def test_a_proposal_known_to_the_watermark_alone_is_not_made_up() -> None:
    engine = _restarted((_records()[0].without_attachment(),))
    assert not of_type(engine.effects, Persist)
    assert TimerKind.ROUND in engine.timers


def test_who_is_no_validator_any_more_signs_nothing_after_a_restart() -> None:
    for record in _records():
        assert not of_type(_restarted((record,), follower=True).effects, Persist)


def test_a_vote_the_signer_refused_is_asked_for_again_and_only_as_it_was() -> None:
    engine = Engine()
    engine.answers = False
    engine.start()
    engine.expire(TimerKind.EMPTY_BLOCK)
    (first,) = of_type(engine.expire(TimerKind.ROUND), Persist)
    assert isinstance(first, Persist)
    engine.feed(SigningFailed(first.token, "unreachable"))
    (again,) = of_type(engine.expire(TimerKind.RESEND), Persist)
    assert isinstance(again, Persist)
    assert again.record == first.record
    assert engine.feed(SigningFailed(999, "of something else")) == []


def _with_named_lock() -> tuple[Engine, VoteRecord]:
    """A after a restart with a lost journal: the watermark names the lock of its COMMIT, without proof."""
    record = _records()[2]
    assert record.lock is not None
    named = structs.replace(record, lock=structs.replace(record.lock, header=None, prepares=()))
    return _restarted((named,), answers=False), named


def test_the_proof_of_another_claim_is_not_that_of_a_named_lock() -> None:
    engine, _ = _with_named_lock()
    engine.say("ROUND_CHANGE B r1 prepared 0 other by B C D")
    machine = engine.core._machine
    assert machine is not None
    assert machine.lock is not None
    assert not machine.lock.is_complete
    engine.cast.block("own", 1, "A")
    engine.say("ROUND_CHANGE C r1 prepared 0 own by B C D")
    assert machine.lock.is_complete


def test_an_own_commit_that_completes_the_quorum_decides_once_the_header_is_known() -> None:
    engine, record = _with_named_lock()
    engine.cast.block("own", 1, "A")
    (persist,) = of_type(engine.effects, Persist)
    assert isinstance(persist, Persist)
    for author in "BC":
        engine.say(f"COMMIT {author} r0 own")
    engine.feed(VoteSigned(persist.token, engine.key.sign(record.payload_hash)))
    assert not of_type(engine.effects, Decide)
    assert of_type(engine.say("PROPOSAL A r0 own", "B"), Decide)
