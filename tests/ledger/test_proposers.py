"""Who proposes, and how validators that let their turn pass are skipped."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.proposers import (
    MAX_MISSES,
    Suspension,
    apply_proposer,
    proposer_order,
    read_proposer_order,
    read_suspensions,
)
from ledger.state import SUSPENSION, StateView
from primitives.keys import PublicKey
from primitives.validators import ValidatorSet
from tests.ledger.chain import Chain

NOBODY = bytes(32)


def key(number: int) -> PublicKey:
    return PublicKey(bytes([number]) * 32)


def validators(count: int) -> ValidatorSet:
    return ValidatorSet(0, tuple(key(number) for number in range(1, count + 1)))


class Heights:
    """Suspensions over a run of heights, from proposers alone."""

    def __init__(self, count: int) -> None:
        self.set = validators(count)
        self.state: dict[bytes, bytes] = {}
        self.parent_proposer = NOBODY
        self.height = 1

    def order(self) -> tuple[PublicKey, ...]:
        return read_proposer_order(self.state, self.set, self.parent_proposer, self.height)

    def decide(self, proposer: PublicKey, next_set: ValidatorSet | None = None) -> None:
        view = StateView(self.state)
        following = next_set or self.set
        apply_proposer(view, self.set, following, self.parent_proposer, proposer, self.height)
        for name, (_, new) in view.delta().changes.items():
            if new is None:
                del self.state[name]
            else:
                self.state[name] = new
        self.parent_proposer, self.set = proposer, following
        self.height += 1

    def suspended(self) -> set[PublicKey]:
        entries = read_suspensions(self.state, self.set)
        return {name for name, entry in entries.items() if entry.until >= self.height}

    def decide_without(self, dead: set[PublicKey]) -> int:
        """The first living validator in the order proposes; returns how many rounds were lost."""
        order = self.order()
        round = next(place for place, name in enumerate(order) if name not in dead)
        self.decide(order[round])
        return round


def test_the_first_block_is_proposed_by_the_lowest_key() -> None:
    assert proposer_order(validators(4), {}, NOBODY, 1) == validators(4).keys


def test_the_order_starts_after_the_parents_proposer() -> None:
    assert proposer_order(validators(4), {}, key(2), 9) == (key(3), key(4), key(1), key(2))
    assert proposer_order(validators(4), {}, key(4), 9) == (key(1), key(2), key(3), key(4))


def test_a_parents_proposer_that_left_the_set_has_a_defined_successor() -> None:
    remaining = ValidatorSet(1, (key(1), key(3), key(4)))
    assert proposer_order(remaining, {}, key(2), 9) == (key(3), key(4), key(1))
    assert proposer_order(remaining, {}, key(9), 9) == (key(1), key(3), key(4))


def test_the_suspended_stand_last_in_their_own_order() -> None:
    suspended = {key(3): Suspension(1, 10), key(4): Suspension(1, 9)}
    assert proposer_order(validators(4), suspended, key(2), 10) == (key(4), key(1), key(2), key(3))
    assert proposer_order(validators(4), suspended, key(2), 9) == (key(1), key(2), key(3), key(4))
    assert proposer_order(validators(4), suspended, key(2), 11) == (key(3), key(4), key(1), key(2))


def test_the_first_miss_costs_n_heights_and_each_further_one_twice_as_many() -> None:
    heights = Heights(4)
    dead = {key(2)}
    missed: list[int] = []
    while len(missed) < 9:
        before = heights.height
        if heights.decide_without(dead):
            missed.append(before)
            entry = read_suspensions(heights.state, heights.set)[key(2)]
            assert entry.until == before + 4 * 2 ** min(len(missed) - 1, MAX_MISSES)
    # Between two lost rounds lie the heights of the suspension, and at most one turn of the others.
    for place, (first, second) in enumerate(pairwise(missed)):
        length = 4 * 2 ** min(place, MAX_MISSES)
        assert length < second - first <= length + 4


def test_a_dead_validator_costs_one_timeout_and_not_one_at_every_turn() -> None:
    heights = Heights(7)
    lost = sum(heights.decide_without({key(3), key(6)}) for _ in range(7 * 20))
    assert lost <= 2 * 6


def test_proposing_clears_suspension_and_misses() -> None:
    heights = Heights(4)
    heights.decide(key(2))
    assert heights.suspended() == {key(1)}
    heights.decide(heights.order()[0])
    heights.decide(key(1))
    assert SUSPENSION + key(1) not in heights.state


def test_at_most_f_are_suspended_and_the_earliest_to_expire_goes_free() -> None:
    heights = Heights(7)
    assert heights.set.max_faulty == 2
    heights.decide(key(4))  # keys 1, 2 and 3 missed; all expire together, so the lowest key goes free
    assert heights.suspended() == {key(2), key(3)}
    entries = read_suspensions(heights.state, heights.set)
    assert entries[key(1)] == Suspension(1, 0)
    heights.decide(key(6))  # key 5 missed later than 2 and 3
    assert heights.suspended() == {key(3), key(5)}


def test_a_single_validator_is_never_suspended() -> None:
    heights = Heights(1)
    for _ in range(5):
        heights.decide(key(1))
    assert heights.state == {}


def test_whoever_leaves_the_set_loses_its_entry() -> None:
    heights = Heights(4)
    heights.decide(key(2))
    smaller = ValidatorSet(1, (key(2), key(3), key(4)))
    heights.decide(heights.order()[0], smaller)
    assert heights.state == {}


def test_suspensions_are_part_of_the_state_root() -> None:
    chain, other = Chain(), Chain()
    assert chain.build(round=0).executed.state_root != other.build(round=1).executed.state_root
    second = chain.order()[1]
    chain.extend(round=1)
    assert [name[1:] for name in chain.state if name[:1] == SUSPENSION] != [second]
    assert chain.order()[-1] == sorted(chain.validators.keys)[0]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10), st.lists(st.integers(0, 9), max_size=40))
def test_the_order_is_always_whole_and_at_most_f_stand_back(count: int, rounds: list[int]) -> None:
    heights = Heights(count)
    for round in rounds:
        order = heights.order()
        assert sorted(order) == list(heights.set.keys)
        heights.decide(order[round % count])
        assert len(heights.suspended()) <= heights.set.max_faulty
        entries = read_suspensions(heights.state, heights.set)
        assert heights.parent_proposer not in entries
