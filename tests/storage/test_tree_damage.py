"""A row of the state tree's pages or edits that was changed, lost or surplus is found, whatever is in it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ledger.payloads import Kind
from ledger.slices import finish
from ledger.state_tree import StateTree
from ledger.transaction import Output
from primitives.errors import StorageFailure
from primitives.limits import TREE_EDITS_PER_ROW
from storage.chain_store import ChainStore, open_chain_store
from storage.integrity import check_open
from storage.layout import EDITS, PAGE, PART, after
from storage.tree_rows import TreePages, replay
from storage.verify import verify_store
from tests.storage.chains import ASSET, BUCKETS, CHAIN_ID, SyntheticChain, commit, lock_of

Row = tuple[bytes, bytes]
TRIALS = 60


def open_store(folder: Path) -> ChainStore:
    return open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=1 << 24, create=True)


def rows_of(store: ChainStore, kind: bytes) -> list[Row]:
    return list(store.database.scan(kind, after(kind)))


def pages_that_edits_rewrite(store: ChainStore) -> set[bytes]:
    tree = StateTree(BUCKETS, TreePages(store.database), keeps_unsaved=True)
    return {PAGE + key for patch in replay(store.database, tree) for key, _ in patch.page_writes()}


def put(folder: Path, key: bytes, value: bytes | None) -> None:
    """Change one row behind the store's back; None deletes it."""
    store = open_store(folder)
    batch = store.database.batch()
    if value is None:
        batch.delete(key)
    else:
        batch.put(key, value)
    store.database.write(batch)
    store.close()


def make_store(folder: Path, *, holders: int) -> None:
    """Saved pages of three blocks, half of the tree's parts of two more, edits of the last three; some bucket
    is split when the holders are few."""
    chain, store = SyntheticChain(seed=11, holders=holders), open_store(folder)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    for number, made in enumerate([chain.emission(200), *chain.blocks(5, transfers=20)]):
        commit(store, made)
        tree.commit(tree.apply(made.delta.changes))
        if number == 2:
            store.pages.save_all(tree)
        if number == 4:
            for _ in range(tree.unsaved.part_count // 2):
                save_a_part(store, tree)
    assert {key[1:9] for key, _ in rows_of(store, EDITS)} == {(n).to_bytes(8, "big") for n in (3, 4, 5)}
    store.close()


def save_a_part(store: ChainStore, tree: StateTree) -> None:
    prepared = finish(store.pages.prepare(tree))
    assert len(prepared.parts) == 1
    store.pages.write(prepared)
    store.pages.saved(tree, prepared)


def changed(value: bytes, chance: random.Random) -> bytes:
    """A value with one bit changed, cut, prolonged or emptied."""
    way = chance.randrange(8)
    if way == 0:
        return value[: chance.randrange(len(value))]
    if way == 1:
        return value + b"\x00"
    if way == 2:
        return b""
    data = bytearray(value)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def start(folder: Path) -> str:
    """What a start finds: nothing, or damage that names the next command."""
    store = open_store(folder)
    found = None
    try:
        check_open(store, CHAIN_ID, BUCKETS)
    except StorageFailure as error:
        found = error
    finally:
        store.close()
    if found is None:
        return ""
    assert found.code == "STORAGE_CORRUPT"
    assert "drexnode verify" in found.message
    return found.message


def verify(folder: Path) -> list[str]:
    """What the full scan finds."""
    store = open_store(folder)
    try:
        return verify_store(store, CHAIN_ID, BUCKETS).findings
    finally:
        store.close()


@pytest.mark.parametrize("holders", [3, 60])
def test_a_changed_or_lost_row_is_found(tmp_path: Path, holders: int) -> None:
    make_store(tmp_path, holders=holders)
    chance = random.Random(holders)
    store = open_store(tmp_path)
    rows = {kind: rows_of(store, kind) for kind in (EDITS, PAGE, PART)}
    rewritten, healed = pages_that_edits_rewrite(store), 0
    store.close()
    for number in range(TRIALS):
        kind = (EDITS, PAGE, PART)[number % 3]
        key, value = chance.choice(rows[kind])
        put(tmp_path, key, None if number % 20 < 2 else changed(value, chance))
        found, findings = start(tmp_path), verify(tmp_path)
        assert findings or not found
        if kind == EDITS:
            assert found or not findings, f"{number}: edits at {key.hex()}"
        if not findings:  # what was changed, a later edit replaces: every page is what the state makes
            assert kind != PAGE or key in rewritten, f"{number}: {key.hex()}"
            healed += kind != PART  # most parts have no edits: then an earlier height says the same
        put(tmp_path, key, value)
    assert healed < TRIALS / 4
    assert (start(tmp_path), verify(tmp_path)) == ("", [])


def test_a_surplus_row_is_found(tmp_path: Path) -> None:
    make_store(tmp_path, holders=60)
    store = open_store(tmp_path)
    key, value = rows_of(store, EDITS)[0]
    page = rows_of(store, PAGE)[-1][1]
    store.close()
    surplus = [(key[:-1] + b"\x09", value), (EDITS + bytes(12), value), (PAGE + b"p" + bytes(5), page)]
    surplus += [(PART + b"\x01\x00", bytes(8)), (PART + bytes(3), bytes(8))]
    for name, content in surplus:
        put(tmp_path, name, content)
        assert verify(tmp_path)
        put(tmp_path, name, None)
    assert verify(tmp_path) == []


def test_a_mark_above_the_tip_is_found_even_where_no_edits_are(tmp_path: Path) -> None:
    make_store(tmp_path, holders=3)
    store = open_store(tmp_path)
    marks = rows_of(store, PART)
    store.close()
    assert len(marks) == 256
    for key, value in marks[::64]:
        put(tmp_path, key, (6).to_bytes(8, "big"))
        assert "makes no sense" in start(tmp_path)
        assert verify(tmp_path)
        put(tmp_path, key, value)


def test_one_owner_may_have_all_outputs_of_a_block(tmp_path: Path) -> None:
    """They lie in one bucket, whose edits are cut into rows all the same: a row has a bound."""
    chain, store = SyntheticChain(seed=2, holders=1), open_store(tmp_path)
    outputs = tuple(Output(ASSET, 1, lock_of(0), b"") for _ in range(1024))
    emissions = [chain._transaction(Kind.EMISSION, (), outputs, b"") for _ in range(4)]
    made = chain._make(emissions, emitted=4 * 1024)
    commit(store, made)
    sizes = [len(value) for _, value in rows_of(store, EDITS)]
    assert len(sizes) >= 4 * 1024 // TREE_EDITS_PER_ROW
    assert max(sizes) < 100 * TREE_EDITS_PER_ROW
    store.close()
    store = open_store(tmp_path)
    assert check_open(store, CHAIN_ID, BUCKETS).root == made.patch.root
    assert verify_store(store, CHAIN_ID, BUCKETS).findings == []
    store.close()
