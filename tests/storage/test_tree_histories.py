"""Random histories of few owners, whose buckets split and join: saved, abandoned, reopened at any moment."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ledger.payloads import Kind
from ledger.slices import finish
from ledger.state_tree import StateTree
from storage.chain_store import ChainStore, open_chain_store
from storage.integrity import check_open
from storage.verify import verify_store
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
    store.pages.write(finish(store.pages.prepare(tree)))
    store.pages.saved(tree)


def abandon_a_save(store: ChainStore, tree: StateTree, turns: int) -> None:
    """As a node that ends while it prepares the batch."""
    slices = store.pages.prepare(tree)
    for _ in range(turns):
        next(slices, None)
    slices.close()


@pytest.mark.parametrize("seed", range(4))
def test_a_start_finds_the_tree_at_the_tip_after_any_history(tmp_path: Path, seed: int) -> None:
    chance, chain = random.Random(seed), SyntheticChain(seed=seed, holders=1 + seed)
    store = open_store(tmp_path)
    tree, deleted = check_open(store, CHAIN_ID, BUCKETS), 0
    for number in range(BLOCKS):
        made = next_block(chain, number, chance)
        patch = tree.apply(made.delta.changes)
        commit(store, made)
        tree.commit(patch)
        assert tree.root == made.block.header.state_root
        deleted += sum(page is None for _, page in patch.page_writes())
        match chance.randrange(6):
            case 0:
                save(store, tree)
            case 1:
                abandon_a_save(store, tree, chance.randrange(3))
            case 2:
                store.close()
                store = open_store(tmp_path)
                tree = check_open(store, CHAIN_ID, BUCKETS)
    store.close()
    store = open_store(tmp_path)
    assert check_open(store, CHAIN_ID, BUCKETS).root == chain.tree.root
    assert verify_store(store, CHAIN_ID, BUCKETS).findings == []
    assert deleted > 0
    store.close()
