"""Saved pages with the stored edits are the tree at the tip, whenever the pages were saved last."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ledger.slices import finish
from ledger.state_tree import StateTree
from primitives.codec import encode
from primitives.errors import InvariantViolation, StorageFailure
from storage import tree_rows
from storage.chain_store import ChainStore, open_chain_store
from storage.integrity import check_open
from storage.layout import EDITS, META_SCHEMA, PAGE, PART, after
from storage.schema import SchemaRow
from storage.verify import verify_store
from tests.storage.chains import BUCKETS, CHAIN_ID, SyntheticChain, commit


def open_store(folder: Path) -> ChainStore:
    return open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=1 << 24, create=True)


def count(store: ChainStore, kind: bytes) -> int:
    return sum(1 for _ in store.database.scan(kind, after(kind)))


def save(store: ChainStore, tree: StateTree) -> None:
    store.pages.save_all(tree)


@pytest.mark.parametrize("saved_after", [(), (0,), (3,), (1, 4), (6,)])
def test_a_start_finds_the_root_of_the_tip(tmp_path: Path, saved_after: tuple[int, ...]) -> None:
    chain = SyntheticChain(seed=3, holders=400)
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    for number, made in enumerate([chain.emission(500), *chain.blocks(6, transfers=60)]):
        commit(store, made)
        patch = tree.apply(made.delta.changes)
        tree.commit(patch)
        if number in saved_after:
            save(store, tree)
            assert count(store, EDITS) == 0
        store.close()
        store = open_store(tmp_path)
        tree = check_open(store, CHAIN_ID, BUCKETS)
        assert tree.root == made.patch.root
        assert verify_store(store, CHAIN_ID, BUCKETS).findings == []
    store.close()


@pytest.mark.parametrize("tree_bytes", [1, 2_000, 1 << 20])
def test_a_start_with_pages_in_ram_makes_the_same_roots(tmp_path: Path, tree_bytes: int) -> None:
    chain = SyntheticChain(seed=5, holders=400)
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    for made in [chain.emission(900), *chain.blocks(2, transfers=60)]:
        commit(store, made)
        tree.commit(tree.apply(made.delta.changes))
    save(store, tree)
    for made in chain.blocks(2, transfers=60):  # edits above the saved pages
        commit(store, made)
    store.close()
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS, tree_bytes=tree_bytes)
    assert tree.root == made.patch.root
    assert 0 < tree.cached_bytes <= tree_bytes or tree_bytes == 1
    made = chain.transfers(100)
    assert tree.apply(made.delta.changes).root == made.patch.root
    store.close()


def test_what_was_not_saved_is_held_in_ram_however_small_the_cache(tmp_path: Path) -> None:
    chain = SyntheticChain(seed=4, holders=400)
    store = open_store(tmp_path)
    pages = tree_rows.TreePages(store.database)
    tree = StateTree(BUCKETS, pages, cache_bytes=1, keeps_unsaved=True)
    for made in [chain.emission(900), *chain.blocks(4, transfers=100)]:
        commit(store, made)
        tree.commit(tree.apply(made.delta.changes))
        assert tree.root == made.patch.root
    assert count(store, PAGE) == 0
    save(store, tree)
    assert tree.unsaved.size_bytes == 0
    assert count(store, PAGE) > BUCKETS / 16
    made = chain.transfers(100)
    assert tree.apply(made.delta.changes).root == made.patch.root  # the pages come from the disk now
    store.close()


def test_pages_are_due_by_edits_and_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = SyntheticChain(seed=5)
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    made = chain.emission(30)
    commit(store, made)
    tree.commit(tree.apply(made.delta.changes))
    finish(tree.settle())
    assert not store.pages.is_due(tree)
    with monkeypatch.context() as patched:
        patched.setattr(tree_rows, "TREE_EDITS_PER_TURN", 32)
        assert store.pages.is_due(tree)
    with monkeypatch.context() as patched:
        patched.setattr(StateTree, "unsaved_limit_bytes", 1)
        assert store.pages.is_due(tree)
        save(store, tree)
        assert not store.pages.is_due(tree)
    store.close()


def test_edits_that_do_not_fit_are_damage_that_names_the_next_command(tmp_path: Path) -> None:
    chain = SyntheticChain(seed=6)
    store = open_store(tmp_path)
    for made in [chain.emission(30), chain.transfers(5)]:
        commit(store, made)
    batch = store.database.batch()
    first, _ = next(iter(store.database.scan(EDITS, after(EDITS))))
    batch.delete(first)
    store.database.write(batch)
    store.close()
    store = open_store(tmp_path)
    with pytest.raises(StorageFailure, match="drexnode verify") as caught:
        check_open(store, CHAIN_ID, BUCKETS)
    assert caught.value.code == "STORAGE_CORRUPT"
    assert any("edits" in finding for finding in verify_store(store, CHAIN_ID, BUCKETS).findings)
    store.close()


def test_data_that_has_its_pages_from_every_block_goes_on(tmp_path: Path) -> None:
    chain = SyntheticChain(seed=7)
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    for made in [chain.emission(30), chain.transfers(5)]:
        commit(store, made)
        tree.commit(tree.apply(made.delta.changes))
    save(store, tree)  # which is how layout 2 looks: pages of the tip, and no edits
    batch = store.database.batch()
    batch.put(META_SCHEMA, encode(SchemaRow(2)))
    store.database.write(batch)
    store.close()
    store = open_store(tmp_path)
    assert any("layout 2 was brought to 3" in what for what in store.database.recovered)
    assert check_open(store, CHAIN_ID, BUCKETS).root == chain.tree.root
    made = chain.transfers(5)
    commit(store, made)
    assert check_open(store, CHAIN_ID, BUCKETS).root == made.patch.root
    store.close()


def test_data_whose_pages_were_all_saved_at_once_goes_on(tmp_path: Path) -> None:
    """Layout 3: pages as of some block, the edits of those after it, and no marks."""
    chain = SyntheticChain(seed=8)
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    for made in [chain.emission(30), chain.transfers(5)]:
        commit(store, made)
        tree.commit(tree.apply(made.delta.changes))
    save(store, tree)
    for made in chain.blocks(3):
        commit(store, made)
    batch = store.database.batch()
    for key, _ in store.database.scan(PART, after(PART)):
        batch.delete(key)
    batch.put(META_SCHEMA, encode(SchemaRow(3)))
    store.database.write(batch)
    store.close()
    store = open_store(tmp_path)
    assert any("layout 3 was brought to 4" in what for what in store.database.recovered)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    assert tree.root == chain.tree.root
    save(store, tree)
    assert (count(store, EDITS), count(store, PART)) == (0, 256)
    assert verify_store(store, CHAIN_ID, BUCKETS).findings == []
    store.close()


def test_parts_take_turns_and_each_save_writes_a_small_part_of_the_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_rows, "TREE_EDITS_PER_TURN", 2_000)
    chain = SyntheticChain(seed=9, holders=400)
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    saved: list[int] = []
    waiting = []
    for made in [chain.emission(900), *chain.blocks(60, transfers=20)]:
        commit(store, made)
        tree.commit(tree.apply(made.delta.changes))
        finish(tree.settle())
        while store.pages.is_due(tree):
            prepared = finish(store.pages.prepare(tree))
            store.pages.write(prepared)
            store.pages.saved(tree, prepared)
            saved += prepared.parts
        waiting.append(len({key[1:9] for key, _ in store.database.scan(EDITS, after(EDITS))}))
    turns = Counter(saved)
    assert len(turns) == 256
    assert max(turns.values()) - 1 <= min(turns.values()) >= 3
    assert max(waiting) < 25  # edits are kept for about one turn
    assert tree.unsaved.size_bytes < 3 * 900 * 250
    assert verify_store(store, CHAIN_ID, BUCKETS).findings == []
    store.close()


def test_pages_of_another_state_are_not_saved(tmp_path: Path) -> None:
    chain = SyntheticChain(seed=10)
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    commit(store, chain.emission(30))
    with pytest.raises(InvariantViolation, match="PAGES_OTHER_STATE"):
        save(store, tree)
    assert count(store, PAGE) == count(store, PART) == 0
    store.close()


def test_a_block_applied_while_pages_are_written_is_noticed(tmp_path: Path) -> None:
    chain = SyntheticChain(seed=10)
    store = open_store(tmp_path)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    made = chain.emission(30)
    commit(store, made)
    tree.commit(tree.apply(made.delta.changes))
    prepared = finish(store.pages.prepare(tree))
    commit(store, chain.transfers(3))
    with pytest.raises(InvariantViolation, match="PAGES_OTHER_STATE"):
        store.pages.saved(tree, prepared)
    store.close()
