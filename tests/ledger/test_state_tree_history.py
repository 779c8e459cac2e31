"""The state tree through histories of a node: rival patches in turn, patches given up, proofs read between
two slices, patches settled half way, reopened trees. Root and pages are those of a tree made at once."""

from __future__ import annotations

from contextlib import suppress
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.slices import Slices, finish
from ledger.state import StateDelta
from ledger.state_tree import StateTree, TreePatch
from ledger.tree_pages import bucket_page_key
from primitives.errors import InvariantViolation
from tests.ledger.test_state_tree import Changes, Pages, State, balance, naive_root, other, output

BUCKETS = 16
CROWDED = 77  # an owner whose bucket is split and joined again
SLICE = 3


class Node:
    """A tree, its store and its state, with several dry runs under way."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.state: State = {}
        self.pages = Pages()
        self.tree = self.open()
        self.runs: list[Slices[TreePatch]] = []

    def open(self) -> StateTree:
        return StateTree(BUCKETS, self.pages, cache_bytes=self.random.choice((0, 500, 1 << 20)))

    def changes(self) -> Changes:
        """Inserts and deletes that carry the crowded bucket over its bound and back."""
        lock = output(0, CROWDED)[1][:32]
        crowd = [key for key, value in self.state.items() if key[:1] == b"o" and value[:32] == lock]
        gone = self.random.sample(crowd, len(crowd) * self.random.randint(0, 4) // 4)
        writes: dict[bytes, bytes | None] = dict.fromkeys(gone)
        for _ in range(self.random.choice((0, 3, 40, 90))):
            key, value = output(self.random.randrange(100, 10_000), CROWDED)
            writes[key] = value
        for _ in range(self.random.randint(0, 12)):
            number = self.random.randrange(60)
            key, value = self.random.choice((output(number, number), balance(number), other(number)))
            kept = (None, value) if key[:1] == b"o" else (None, value, value + b"x")  # outputs never change
            writes[key] = self.random.choice(kept)
        if self.random.random() < 0.05:
            writes = dict.fromkeys(self.state)
        return {key: (self.state.get(key), value) for key, value in writes.items()}

    def disturb(self) -> None:
        """A slice of any dry run, a page or node for a proof, a slice of settling."""
        act = self.random.randrange(4)
        if act == 0 and self.runs:
            with suppress(StopIteration, InvariantViolation):  # of a run that a commit made worthless
                next(self.random.choice(self.runs))
        elif act == 1:
            self.tree.page(bucket_page_key(self.random.randrange(BUCKETS)))
        elif act == 2:
            self.tree.node(0, 0)
        else:
            next(self.tree.settle(), None)

    def effect(self, patch: TreePatch) -> dict[bytes, bytes | None]:
        """What a patch changes in the store: deleting a page that is not there is nothing."""
        return {key: page for key, page in patch.page_writes() if self.pages.load(key) != page}

    def decide(self) -> None:
        """Two candidates for one height are made in turn; one is committed, the other given up."""
        chosen = self.changes()
        run = self.tree.apply_in_slices(StateDelta.of(chosen), SLICE)
        self.runs = [*self.runs[-1:], self.tree.apply_in_slices(StateDelta.of(self.changes()), SLICE)]
        while True:
            try:
                next(run)
            except StopIteration as stop:
                patch: TreePatch = stop.value
                break
            self.disturb()
        again = finish(self.tree.apply_in_slices(StateDelta.of(chosen)))
        assert (patch.root, self.effect(patch)) == (again.root, self.effect(again))
        self.pages.write(patch)
        self.tree.commit(patch)
        for key, (_, value) in chosen.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        for _ in range(self.random.randint(0, 3)):
            self.disturb()
        if self.random.random() < 0.2:
            self.tree, self.runs = self.open(), []


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32))
def test_no_history_leaves_another_tree_than_the_state_alone_makes(seed: int) -> None:
    node = Node(seed)
    for _ in range(8):
        node.decide()
        at_once = Pages()
        fresh = StateTree(BUCKETS, at_once)
        at_once.write(fresh.apply({key: (None, value) for key, value in node.state.items()}))
        assert node.tree.root == naive_root(node.state, BUCKETS)
        assert node.pages == at_once
