"""Validator votes: what counts, what a quorum does at the end of a block, and what makes a vote void."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.payloads import (
    Kind,
    RegisterCandidate,
    RegistryAct,
    RemoveCandidate,
    ValidatorVote,
    VoteOperation,
)
from ledger.state import CANDIDATE, VALIDATORS, VOTE, VOTE_SUBJECTS, StateView
from ledger.votes import (
    VOTE_ADD,
    VOTE_REMOVE,
    VOTE_WITHDRAW,
    PendingVote,
    apply_votes,
    cast_vote,
    pending_votes,
    read_validators,
    validators_value,
)
from primitives.errors import InvalidTransaction
from primitives.keys import PublicKey
from primitives.validators import ValidatorSet
from tests.ledger.chain import BRL, Chain, devnet, key_set, wallet, with_parameters

CANDIDATES = tuple(PublicKey(bytes([number]) * 32) for number in range(1, 9))


class Votes:
    """Votes over heights, without transactions."""

    def __init__(self, members: int = 4, min_validators: int = 1) -> None:
        self.set = ValidatorSet(0, CANDIDATES[:members])
        self.min_validators = min_validators
        self.height = 1
        self.view = StateView({})
        self.view.put(VALIDATORS, validators_value(self.set))
        for candidate in CANDIDATES[:7]:
            self.view.put(CANDIDATE + candidate, b"\x91\xa0")

    def cast(self, voter: int, subject: int, operation: int, expires: int = 100) -> None:
        cast_vote(
            self.view, self.set, CANDIDATES[voter], CANDIDATES[subject], operation, expires, self.height
        )

    def end(self) -> ValidatorSet:
        self.set = apply_votes(self.view, self.set, self.height, self.min_validators)
        assert read_validators(self.view) == self.set
        self.height += 1
        return self.set

    def refused(self, *vote: int) -> str:
        before = self.view.delta().changes
        with pytest.raises(InvalidTransaction) as refusal:
            self.cast(*vote)
        assert self.view.delta().changes == before
        return refusal.value.code

    def traces(self) -> list[bytes]:
        entries = self.view.delta().changes.items()
        heads = (VOTE, VOTE_SUBJECTS)
        return [name for name, (_, new) in entries if new is not None and name[:1] in heads]


def test_a_quorum_adds_a_candidate_from_the_next_height_on() -> None:
    votes = Votes()
    for voter in range(2):
        votes.cast(voter, 5, VOTE_ADD)
    assert votes.end().epoch == 0
    votes.cast(2, 5, VOTE_ADD)
    changed = votes.end()
    assert (changed.epoch, CANDIDATES[5] in changed, changed.size) == (1, True, 5)
    assert votes.traces() == []


def test_a_quorum_removes_a_member_and_its_votes_are_void() -> None:
    votes = Votes()
    votes.cast(0, 5, VOTE_ADD)
    for voter in (1, 2, 3):
        votes.cast(voter, 0, VOTE_REMOVE)
    assert CANDIDATES[0] not in votes.end()
    assert votes.traces() == []
    for voter in (1, 2):  # 2 of 3 is a quorum now
        votes.cast(voter, 5, VOTE_ADD)
    assert CANDIDATES[5] in votes.end()


def test_the_latest_vote_of_a_voter_stands_alone() -> None:
    votes = Votes()
    for voter in (0, 1, 2):
        votes.cast(voter, 3, VOTE_REMOVE, 50)
    votes.cast(2, 3, VOTE_REMOVE, 60)
    votes.cast(1, 3, VOTE_WITHDRAW)
    assert votes.end().epoch == 0
    assert pending_votes(votes.view) == [
        PendingVote(CANDIDATES[3], CANDIDATES[0], False, 50),
        PendingVote(CANDIDATES[3], CANDIDATES[2], False, 60),
    ]


def test_a_vote_counts_up_to_its_expiry_and_not_beyond() -> None:
    votes = Votes()
    votes.cast(0, 5, VOTE_ADD, 2)
    votes.cast(1, 5, VOTE_ADD, 1)
    votes.end()
    assert [vote.voter for vote in pending_votes(votes.view)] == [CANDIDATES[0]]
    for voter in (1, 2):
        votes.cast(voter, 5, VOTE_ADD, 9)
    assert CANDIDATES[5] in votes.end()
    late = Votes()
    late.cast(0, 5, VOTE_ADD, 1)
    late.end()
    assert late.traces() == []
    for voter in (1, 2):
        late.cast(voter, 5, VOTE_ADD, 9)
    assert late.end().epoch == 0


def test_at_most_one_change_a_block_the_lowest_subject_first() -> None:
    votes = Votes()
    for subject in (6, 4):
        for voter in range(3):
            votes.cast(voter, subject, VOTE_ADD)
    first = votes.end()
    assert (CANDIDATES[4] in first, CANDIDATES[6] in first) == (True, False)
    votes.cast(4, 6, VOTE_ADD)  # the quorum of five is four: the new member is needed for the next
    second = votes.end()
    assert (second.epoch, CANDIDATES[6] in second) == (2, True)


def test_the_set_never_falls_below_its_minimum() -> None:
    votes = Votes(min_validators=4)
    for voter in range(3):
        votes.cast(voter, 3, VOTE_REMOVE)
    assert votes.end().size == 4
    alone = Votes(members=1)
    alone.cast(0, 0, VOTE_REMOVE)
    assert alone.end().size == 1


def test_a_candidate_taken_back_is_not_added() -> None:
    votes = Votes()
    for voter in range(3):
        votes.cast(voter, 5, VOTE_ADD)
    votes.view.delete(CANDIDATE + CANDIDATES[5])
    assert votes.end().epoch == 0


def test_impossible_votes_are_refused() -> None:
    votes = Votes()
    assert votes.refused(5, 6, VOTE_ADD) == "TX_NOT_A_VALIDATOR"
    assert votes.refused(0, 1, VOTE_ADD) == "TX_VOTE_INVALID"  # a member already
    assert votes.refused(0, 7, VOTE_ADD) == "TX_VOTE_INVALID"  # nobody's candidate
    assert votes.refused(0, 5, VOTE_REMOVE) == "TX_VOTE_INVALID"  # a stranger
    assert votes.refused(0, 5, VOTE_WITHDRAW) == "TX_VOTE_INVALID"  # no vote stands
    assert votes.refused(0, 5, 3) == "TX_VOTE_INVALID"
    assert votes.refused(0, 5, VOTE_ADD, 0) == "TX_VOTE_INVALID"  # expired


def test_an_override_takes_the_place_of_the_set_and_voids_strangers_votes() -> None:
    votes = Votes()
    votes.cast(0, 5, VOTE_ADD)
    votes.cast(3, 5, VOTE_ADD)
    votes.set = ValidatorSet(7, (CANDIDATES[3], CANDIDATES[4]))
    assert votes.end() == ValidatorSet(7, (CANDIDATES[3], CANDIDATES[4]))
    assert [vote.voter for vote in pending_votes(votes.view)] == [CANDIDATES[3]]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_votes_agree_with_a_plain_model(data: st.DataObject) -> None:
    """Random votes against a dictionary that restates the rules."""
    votes = Votes(members=data.draw(st.integers(1, 5)), min_validators=data.draw(st.integers(1, 3)))
    model: dict[tuple[PublicKey, PublicKey], tuple[int, int]] = {}
    members, epoch = set(votes.set.keys), 0
    for _ in range(data.draw(st.integers(1, 6))):
        for _ in range(data.draw(st.integers(0, 8))):
            voter, subject = data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))
            operation, life = data.draw(st.integers(0, 2)), data.draw(st.integers(-1, 3))
            name = (CANDIDATES[subject], CANDIDATES[voter])
            is_member = CANDIDATES[subject] in members
            possible = {0: not is_member and subject < 7, 1: is_member, 2: name in model}[operation]
            if CANDIDATES[voter] not in members or not possible or (operation < 2 and life < 0):
                votes.refused(voter, subject, operation, votes.height + life)
                continue
            votes.cast(voter, subject, operation, votes.height + life)
            if operation == VOTE_WITHDRAW:
                del model[name]
            else:
                model[name] = (operation, votes.height + life)
        quorum = -(-2 * len(members) // 3)
        for subject_key in sorted({subject for subject, _ in model}):
            wanted = VOTE_REMOVE if subject_key in members else VOTE_ADD
            agreeing = [name for name, vote in model.items() if name[0] == subject_key and vote[0] == wanted]
            allowed = wanted == VOTE_ADD or len(members) - 1 >= max(votes.min_validators, 1)
            if len(agreeing) >= quorum and allowed:
                members ^= {subject_key}
                epoch += 1
                model = {name: vote for name, vote in model.items() if name[0] != subject_key}
                break
        model = {name: vote for name, vote in model.items() if vote[1] > votes.height and name[1] in members}
        assert votes.end() == ValidatorSet(epoch, tuple(sorted(members)))
        found = {
            (vote.subject, vote.voter): (1 - vote.add, vote.expires) for vote in pending_votes(votes.view)
        }
        assert found == model
        assert len(votes.traces()) == len(model) + bool(model)


def test_votes_on_a_running_chain_change_the_set_of_the_next_height() -> None:
    chain = Chain(devnet(4, with_parameters(min_validators=4)))
    newcomer = wallet("validator-9").public_key
    candidate = RegistryAct("00038166", RegisterCandidate(newcomer, "99990001"))
    chain.extend(chain.order_act(Kind.REGISTRY, candidate, "bcb-registry"))
    assert chain.state[CANDIDATE + newcomer]
    names = [f"validator-{number}" for number in range(3)]
    votes = [
        ValidatorVote(wallet(name).public_key, newcomer, VoteOperation.ADD, chain.height + 10)
        for name in names
    ]
    block = chain.extend(
        *(chain.order_act(Kind.VALIDATOR_VOTE, vote, name) for vote, name in zip(votes, names, strict=True))
    )
    five = key_set("validator-0", "validator-1", "validator-2", "validator-3", "validator-9", epoch=1)
    assert (block.header.validators_hash, block.header.next_validators_hash) == (
        key_set("validator-0", "validator-1", "validator-2", "validator-3").hash,
        five.hash,
    )
    assert chain.extend().header.validators_hash == five.hash
    taken_back = RegistryAct("00038166", RemoveCandidate(newcomer))
    refused = chain.build([chain.order_act(Kind.REGISTRY, taken_back, "bcb-registry")]).refused
    assert [item.error.code for item in refused] == ["TX_VALIDATOR_IN_SET"]
    assert chain.unspent("bcb", BRL) == []
