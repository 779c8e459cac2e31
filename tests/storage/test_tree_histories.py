"""Random histories of few owners, whose buckets split and join: parts of the tree are saved, saving is
abandoned, the node ends at any moment."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ledger.payloads import Kind
from ledger.slices import finish
from ledger.state_tree import StateTree
from storage import tree_rows
from storage.chain_store import ChainStore, open_chain_store
from storage.integrity import check_open
from storage.layout import EDITS, PAGE, after
from storage.verify import RamPages, verify_store
from tests.storage.chains import BUCKETS, CHAIN_ID, Made, SyntheticChain, commit

BLOCKS = 40


def open_store(folder: Path) -> ChainStore:
    return open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=1 << 22, create=True)


def next_block(chain: SyntheticChain, number: int, chance: random.Random) -> Made:
    """Outputs grow in the first half of a history and are burned by the dozen in the second."""
    unspent = len(chain.unspent)
    if unspent < 4:
        return chain.emission(100)
    if number < BLOCKS // 2:
        return chain.transfers(min(unspent, chance.randrange(1, 120)))
    burns, amount = [], 0
    for _ in range(chance.randrange(1, unspent)):
        outpoint, _, value = chain.unspent.pop(chance.randrange(len(chain.unspent)))
        burns.append(chain._transaction(Kind.BURN, (outpoint,), (), b""))
        amount += value
    return chain._make(burns, burned=amount)


def save(store: ChainStore, tree: StateTree) -> None:
    """Some parts more, as a node does when it is due."""
    prepared = finish(store.pages.prepare(tree))
    store.pages.write(prepared)
    store.pages.saved(tree, prepared)


def abandon_a_save(store: ChainStore, tree: StateTree, turns: int) -> None:
    """As a node that ends while it prepares the batch."""
    slices = store.pages.prepare(tree)
    for _ in range(turns):
        next(slices, None)
    slices.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_start_finds_the_tree_at_the_tip_after_any_history(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, chain = random.Random(seed), SyntheticChain(seed=seed, holders=1 + seed * seed)
    monkeypatch.setattr(tree_rows, "TREE_EDITS_PER_TURN", chance.choice([100, 1_000, 10_000]))
    monkeypatch.setattr(tree_rows, "TREE_EDITS_PER_REPLAY", chance.choice([1, 150, 1_000]))
    monkeypatch.setattr(tree_rows, "TREE_SAVE_BYTES", chance.choice([1, 10_000, 1 << 20]))
    store = open_store(tmp_path)
    tree, deleted = check_open(store, CHAIN_ID, BUCKETS), 0
    for number in range(BLOCKS):
        made = next_block(chain, number, chance)
        patch = tree.apply(made.delta.changes)
        commit(store, made)
        tree.commit(patch)
        assert tree.root == made.block.header.state_root
        deleted += sum(page is None for _, page in patch.page_writes())
        way = chance.randrange(7)
        if way < 3:
            save(store, tree)
        elif way == 3:
            abandon_a_save(store, tree, chance.randrange(3))
        elif way == 4:  # it ends before anyone hears that the pages were written
            store.pages.write(finish(store.pages.prepare(tree)))
        if way in (4, 5):
            store.close()
            store = open_store(tmp_path)
            tree = check_open(store, CHAIN_ID, BUCKETS)
            assert tree.root == chain.tree.root
            assert verify_store(store, CHAIN_ID, BUCKETS).findings == []
    assert deleted > 0
    store.pages.save_all(tree)
    store.close()
    store = open_store(tmp_path)
    assert rows_of(store, EDITS) == {}
    assert rows_of(store, PAGE) == pages_made_anew(chain)
    assert check_open(store, CHAIN_ID, BUCKETS).root == chain.tree.root
    store.close()


def rows_of(store: ChainStore, kind: bytes) -> dict[bytes, bytes]:
    return dict(store.database.scan(kind, after(kind)))


def pages_made_anew(chain: SyntheticChain) -> dict[bytes, bytes]:
    """The rows of the pages of a tree that is made of the chain's state at once."""
    patch = StateTree(BUCKETS, RamPages()).apply({key: (None, new) for key, new in chain.state.items()})
    return {PAGE + key: page for key, page in patch.page_writes() if page is not None}
