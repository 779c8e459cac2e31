"""Memory is bounded whatever peers send, and a flooder evicts only its own."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.buffers import FutureBuffer, LaggardAnswers
from consensus.inputs import PeerId
from consensus.messages import Prepare
from consensus.verifier import VoteVerifier
from consensus.votes import CommitBook
from primitives.limits import (
    CONSENSUS_COMMIT_ROUNDS,
    CONSENSUS_FUTURE_BYTES_PER_PEER,
    CONSENSUS_FUTURE_MESSAGES_PER_PEER,
    CONSENSUS_LAGGARD_ANSWERS,
    CONSENSUS_MAX_PEERS,
    CONSENSUS_MAX_VERIFIED,
)
from tests.consensus.engine import Engine
from tests.scenarios.cast import Cast


def _vote(height: int, round: int = 0) -> Prepare:
    return Prepare(height, round, 0, bytes(64), bytes(32))


def test_a_flooder_evicts_only_its_own() -> None:
    buffer = FutureBuffer()
    buffer.add(PeerId("quiet"), _vote(2), 100)
    for round in range(3 * CONSENSUS_FUTURE_MESSAGES_PER_PEER):
        buffer.add(PeerId("loud"), _vote(2, round), 100)
    assert len(buffer) == CONSENSUS_FUTURE_MESSAGES_PER_PEER + 1
    assert (PeerId("quiet"), _vote(2)) in buffer.take(2)


def test_a_share_is_bounded_in_bytes_too() -> None:
    buffer = FutureBuffer()
    for round in range(5):
        buffer.add(PeerId("loud"), _vote(2, round), CONSENSUS_FUTURE_BYTES_PER_PEER // 2)
    assert len(buffer) == 2


def test_a_peer_too_many_is_not_kept() -> None:
    buffer = FutureBuffer()
    for number in range(CONSENSUS_MAX_PEERS + 1):
        buffer.add(PeerId(str(number)), _vote(2), 100)
    assert len(buffer) == CONSENSUS_MAX_PEERS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=60), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_take_gives_a_height_in_order_of_arrival_and_drops_what_is_below(
    arrivals: list[tuple[str, int]], height: int
) -> None:
    buffer = FutureBuffer()
    for number, (peer, of_height) in enumerate(arrivals):
        buffer.add(PeerId(peer), _vote(of_height, number), 100)
    due = [number for number, (_, of_height) in enumerate(arrivals) if of_height == height]
    assert [vote.round for _, vote in buffer.take(height)] == due
    assert len(buffer) == sum(of_height > height for _, of_height in arrivals)
    assert all(shelf.size_bytes == 100 * len(shelf.entries) for shelf in buffer._shelves.values())


def test_laggards_are_answered_once_a_height_and_in_all_not_too_often() -> None:
    answers = LaggardAnswers()
    assert answers.permit(PeerId("a"), 3)
    assert not answers.permit(PeerId("a"), 3)
    assert sum(answers.permit(PeerId("b"), height) for height in range(5000)) == CONSENSUS_LAGGARD_ANSWERS - 1
    answers.reset()
    assert answers.permit(PeerId("a"), 3)


def test_the_memory_of_verified_signatures_is_bounded_and_only_costs_time() -> None:
    cast = Cast(4, fake=True)
    verifier = VoteVerifier(cast.verify, cast.validators, cast.domain)
    for number in range(2 * CONSENSUS_MAX_VERIFIED + 5):
        message = number.to_bytes(32, "big")
        assert verifier.check(0, message, cast.keys["A"].sign(message))
        assert len(verifier._known) <= CONSENSUS_MAX_VERIFIED
    assert verifier.check(0, bytes(32), cast.keys["A"].sign(bytes(32)))


def test_commits_of_rounds_long_left_are_not_kept() -> None:
    engine, book = Engine(), CommitBook(4, 3)
    engine.start()
    old = engine.cast.sign("A", Prepare(1, 0, 0, bytes(64), bytes(32)))
    assert not book.is_useful(old, CONSENSUS_COMMIT_ROUNDS)  # type: ignore[arg-type]
    assert book.is_useful(old, CONSENSUS_COMMIT_ROUNDS - 1)  # type: ignore[arg-type]
