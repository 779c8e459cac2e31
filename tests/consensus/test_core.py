"""The passage between heights, the host's contract, and what the engine shows of itself."""

from __future__ import annotations

import pytest

from consensus.config import QbftConfig
from consensus.effects import BuildBlock, Decide, Persist, PushPool, Reject, RequestSync, SendTo, SetTimer
from consensus.history import History
from consensus.inputs import BlockBuilt, Outcome, PeerId, StartHeight, TimerKind, Verdict, WorkAvailable
from consensus.observation import Phase
from primitives.certificate import CommitCertificate
from primitives.errors import InvariantViolation
from primitives.limits import CONSENSUS_DECIDED_HEIGHTS
from tests.consensus.engine import Engine, of_type


def _phase(engine: Engine) -> Phase:
    seen = engine.core.observe()
    assert seen is not None
    return seen.phase


def test_before_the_first_height_nothing_is_done_and_nothing_shown() -> None:
    engine = Engine()
    assert engine.say("PROPOSAL A r0 x") == []
    assert engine.core.observe() is None


def test_what_is_shown_follows_the_height_from_phase_to_phase() -> None:
    engine = Engine()
    engine.start()
    assert _phase(engine) is Phase.WAITING
    engine.expire(TimerKind.EMPTY_BLOCK)
    assert _phase(engine) is Phase.PROPOSING
    engine.expire(TimerKind.ROUND)
    assert _phase(engine) is Phase.CHANGING_ROUND
    engine.say("PROPOSAL B r1 x with A B C")
    assert _phase(engine) is Phase.PREPARING
    for author in "BC":
        engine.say(f"PREPARE {author} r1 x")
    assert _phase(engine) is Phase.COMMITTING
    seen = engine.core.observe()
    assert seen is not None
    assert (seen.height, seen.round, seen.lock_round, seen.prepared_here) == (1, 1, 1, True)
    assert seen.proposer == engine.cast.keys["B"].public_key
    assert seen.asked_rounds == (None, None, None, 1)
    for author in "BC":
        engine.say(f"COMMIT {author} r1 x")
    assert _phase(engine) is Phase.DECIDED


def test_a_host_that_breaks_the_contract_is_told() -> None:
    engine = Engine()
    cast = engine.cast
    order = tuple(cast.keys[name].public_key for name in cast.names)
    with pytest.raises(InvariantViolation, match="parent"):
        engine.feed(StartHeight(2, cast.genesis, None, cast.validators, order))
    with pytest.raises(InvariantViolation, match="proposer order"):
        engine.feed(StartHeight(1, cast.genesis, None, cast.validators, order[1:]))
    engine.start()
    with pytest.raises(InvariantViolation, match="after 1"):
        engine.start()


def test_a_height_without_a_running_timer_is_noticed() -> None:
    engine = Engine()
    engine.start()
    engine.core._timers._running.clear()
    with pytest.raises(InvariantViolation, match="no timer runs"):
        engine.say("PREPARE B r0 x")


def test_without_a_period_a_block_follows_the_interval_at_once() -> None:
    engine = Engine(me="A", empty_block_period_ms=0, min_block_interval_ms=5)
    engine.start()
    assert not of_type(engine.effects, BuildBlock)
    assert of_type(engine.expire(TimerKind.BLOCK_INTERVAL), BuildBlock)


def test_the_interval_counts_from_the_parents_proposal() -> None:
    for since_ms, left in ((0, [50]), (30, [20]), (50, []), (900, [])):
        engine = Engine(me="A", empty_block_period_ms=0, min_block_interval_ms=50)
        cast = engine.cast
        order = tuple(cast.keys[name].public_key for name in cast.names)
        effects = engine.feed(
            StartHeight(1, cast.genesis, None, cast.validators, order, since_parent_ms=since_ms)
        )
        timers = [effect for effect in effects if isinstance(effect, SetTimer)]
        waits = [timer.delay_ms for timer in timers if timer.timer.kind is TimerKind.BLOCK_INTERVAL]
        assert waits == left
        assert bool(of_type(effects, BuildBlock)) is not bool(left)


def test_work_makes_all_but_the_proposer_push_their_pool_to_it() -> None:
    for me, pushes in (("A", 0), ("D", 1)):
        engine = Engine(me=me)
        engine.start()
        assert len(of_type(engine.feed(WorkAvailable()), PushPool)) == pushes


def test_a_built_block_that_names_another_proposer_is_not_proposed() -> None:
    engine = Engine(me="A")
    engine.answers = False
    engine.start()
    engine.expire(TimerKind.EMPTY_BLOCK)
    foreign = engine.cast.block("foreign", 1, "B")
    effects = engine.feed(BlockBuilt(1, 0, foreign, ()))
    assert [effect.reason for effect in effects if isinstance(effect, Reject)] == ["OWN_BLOCK_INVALID"]
    assert not of_type(effects, Persist)


def test_a_fresh_block_must_name_its_sender_as_proposer() -> None:
    engine = Engine()
    engine.cast.declared["z"] = "by B"
    engine.start()
    effects = engine.say("PROPOSAL A r0 z")
    assert [effect.reason for effect in effects if isinstance(effect, Reject)] == ["BAD_JUSTIFICATION"]


def test_a_header_with_another_number_of_transactions_is_refused() -> None:
    engine = Engine()
    engine.start()
    message = engine.message("PROPOSAL A r0 x")
    longer = message.replace(b"\x90\x90\x90", b"\x91\xc4\x20" + bytes(32) + b"\x90\x90")
    assert longer != message
    effects = engine.hear(longer, "A")
    assert [effect.reason for effect in effects if isinstance(effect, Reject)] == ["INVALID_BLOCK"]


def test_bodies_that_nobody_has_leave_the_round_to_its_timer() -> None:
    engine = Engine()
    engine.answers = False
    engine.start()
    engine.say("PROPOSAL A r0 x")
    machine = engine.core._machine
    assert machine is not None
    ref = machine.proposals.validation_ref
    assert ref is not None
    assert engine.feed(Verdict(ref, Outcome.UNAVAILABLE)) == []
    assert engine.feed(Verdict(ref, Outcome.OK)) == []  # an answer counts once
    assert TimerKind.ROUND in engine.timers


def test_blocks_of_many_rounds_do_not_push_out_the_locked_one() -> None:
    engine = Engine()
    engine.start()
    engine.say("PROPOSAL A r0 x")
    for author in "AB":
        engine.say(f"PREPARE {author} r0 x")
    machine = engine.core._machine
    assert machine is not None
    assert machine.lock is not None
    for round in range(1, 40):
        author = "ABCD"[round % 4]
        if author != "D":
            engine.say(f"PROPOSAL {author} r{round} block{round} with A B C")
    assert machine.round == 38
    assert len(machine.proposals.candidates) <= 17
    assert machine.lock.block_id in machine.proposals.candidates


def test_who_works_far_above_is_asked_for_blocks_at_once_and_again_by_a_timer() -> None:
    engine = Engine()
    engine.start()
    assert not of_type(engine.say("PREPARE B r0 x height 2"), RequestSync)  # one above may be a race
    assert of_type(engine.say("PREPARE C r0 x height 5"), RequestSync) == [RequestSync(5, PeerId("C"))]
    assert of_type(engine.expire(TimerKind.SYNC), RequestSync) == [RequestSync(5, PeerId("C"))]


def test_a_sync_timer_that_the_next_height_made_pointless_asks_for_nothing() -> None:
    engine = Engine()
    engine.start()
    engine.say("PREPARE B r0 x height 2")
    decided = engine.decide("x")
    engine.timers.pop(TimerKind.SYNC)
    engine.start(2, decided.header)
    assert TimerKind.SYNC not in engine.core._timers._running


def test_a_laggard_at_a_height_long_gone_gets_the_tip() -> None:
    engine = Engine()
    engine.start()
    engine.start(2, engine.decide("x").header)
    answers = of_type(engine.say("ROUND_CHANGE B r1 height 1", "B"), SendTo)
    assert len(answers) == 1
    assert not of_type(engine.say("ROUND_CHANGE C r2 height 1", "B"), SendTo)  # once a second
    assert of_type(engine.say("ROUND_CHANGE C r2 height 1", "C"), SendTo)
    engine.expire(TimerKind.LAGGARD)
    assert of_type(engine.say("ROUND_CHANGE B r3 height 1", "B"), SendTo)


def test_a_follower_decides_and_never_signs() -> None:
    engine = Engine(follower=True)
    engine.start()
    engine.decide("x")
    assert len(of_type(engine.effects, Decide)) == 1
    assert not of_type(engine.effects, Persist)


def test_only_the_last_heights_are_remembered() -> None:
    history = History(bytes(32))
    engine = Engine()
    assert history.answer(1) is None
    for height in range(1, 3 * CONSENSUS_DECIDED_HEIGHTS, 2):  # leaps, as after a sync
        header = engine.cast.block("x", height)
        history.add(header, CommitCertificate(1, height, 0, bytes(32), ()), None)
    for height in range(60, 60 + 3 * CONSENSUS_DECIDED_HEIGHTS):
        header = engine.cast.block("x", height)
        history.add(header, CommitCertificate(1, height, 0, bytes(32), ()), None)
    assert len(history._blocks) == CONSENSUS_DECIDED_HEIGHTS
    assert history.answer(1) == history.answer(60 + 3 * CONSENSUS_DECIDED_HEIGHTS - 1)


def test_round_timeouts_are_positive_and_capped_whatever_the_round() -> None:
    config = QbftConfig(
        chain_id=bytes(32), public_key=None, verify=lambda *_: True, base_timeout_ms=7, max_timeout_ms=10**9
    )
    delays = [config.round_timeout_ms(round) for round in (0, 1, 2, 64, 2**31 - 1)]
    assert delays == [7, 14, 28, 30_000, 30_000]
