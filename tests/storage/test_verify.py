"""The full scan finds whatever does not fit; the checks at start find what must never be started on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ledger.state_tree import StateTree
from primitives.errors import DrexError, InvariantViolation, StorageFailure
from primitives.keys import PublicKey
from primitives.validators import ValidatorSet
from storage.chain_store import ChainStore, open_chain_store
from storage.integrity import check_open
from storage.layout import (
    BODIES,
    BOOK,
    CERTIFICATE,
    CONTENT,
    EDITS,
    HEADER,
    HEIGHT_OF_BLOCK,
    HISTORY,
    PAGE,
    REFERENCE,
    STATE,
    TRANSACTION,
    UNSPENT,
    after,
)
from storage.leveldb import Batch
from storage.verify import RamPages, Report, verify_store
from tests.storage.chains import BUCKETS, CHAIN_ID, SyntheticChain, commit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = open_chain_store(tmp_path / "chain", CHAIN_ID, hot_set_bytes=1 << 24, create=True)
    chain = SyntheticChain(seed=5)
    commit(store, chain.emission(60, reference=b"first"))
    for made in chain.blocks(3):
        commit(store, made)
    save_pages(store)
    for made in chain.blocks(3):
        commit(store, made)
    commit(store, chain.burn())
    store.close()
    return tmp_path / "chain"


def save_pages(store: ChainStore) -> None:
    tree = check_open(store, CHAIN_ID, BUCKETS)
    store.pages.save_all(tree)


@pytest.fixture
def store(folder: Path) -> Iterator[ChainStore]:
    opened = open_chain_store(folder, CHAIN_ID, hot_set_bytes=1 << 24)
    yield opened
    opened.close()


def scan(folder: Path) -> Report:
    store = open_chain_store(folder, CHAIN_ID, hot_set_bytes=1 << 24)
    try:
        return verify_store(store, CHAIN_ID, BUCKETS)
    finally:
        store.close()


def change(folder: Path, edit: Callable[[ChainStore, Batch], None]) -> None:
    store = open_chain_store(folder, CHAIN_ID, hot_set_bytes=1 << 24)
    batch = store.database.batch()
    edit(store, batch)
    store.database.write(batch)
    store.close()


def rows(store: ChainStore, kind: bytes) -> list[tuple[bytes, bytes]]:
    return list(store.database.scan(kind, after(kind)))


def test_a_sound_store_has_no_findings(store: ChainStore) -> None:
    report = verify_store(store, CHAIN_ID, BUCKETS)
    assert report.findings == []
    assert report.blocks == 8
    assert report.transactions > 50
    assert report.entries > 50


KINDS = [
    BODIES,
    BOOK,
    CONTENT,
    EDITS,
    HEADER,
    HEIGHT_OF_BLOCK,
    HISTORY,
    PAGE,
    REFERENCE,
    STATE,
    TRANSACTION,
    UNSPENT,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.decode())
def test_a_lost_row_of_any_kind_is_found(folder: Path, kind: bytes) -> None:
    def lose(store: ChainStore, batch: Batch) -> None:
        found = rows(store, kind)
        batch.delete(found[len(found) // 2][0])

    change(folder, lose)
    assert not scan(folder).is_clean


CHANGED = [kind for kind in KINDS if kind != UNSPENT]


@pytest.mark.parametrize("kind", CHANGED, ids=lambda kind: kind.decode())
def test_a_changed_row_of_any_kind_is_found(folder: Path, kind: bytes) -> None:
    def spoil(store: ChainStore, batch: Batch) -> None:
        key, value = rows(store, kind)[0]
        batch.put(key, value[:-1] + bytes((value[-1] ^ 1,)))

    change(folder, spoil)
    assert not scan(folder).is_clean


@pytest.mark.parametrize("kind", [HISTORY, REFERENCE, TRANSACTION, UNSPENT], ids=lambda kind: kind.decode())
def test_an_index_row_too_many_is_found(folder: Path, kind: bytes) -> None:
    def add(store: ChainStore, batch: Batch) -> None:
        key, value = rows(store, kind)[0]
        batch.put(key[:-1] + bytes((key[-1] ^ 1,)), value)

    change(folder, add)
    assert not scan(folder).is_clean


def test_a_start_on_a_lost_certificate_is_refused(folder: Path) -> None:
    change(folder, lambda store, batch: batch.delete(rows(store, CERTIFICATE)[-1][0]))
    with pytest.raises(StorageFailure, match="lacks its certificate"):
        start(folder)


def test_a_start_on_a_tree_that_is_not_the_tips_is_refused(folder: Path) -> None:
    def spoil(store: ChainStore, batch: Batch) -> None:
        key = next(key for key, _ in rows(store, PAGE) if key[1:2] == b"g")
        batch.delete(key)

    change(folder, spoil)
    with pytest.raises(StorageFailure, match=r"is not that of block|do not fit its pages"):
        start(folder)


def test_a_start_on_books_that_differ_is_refused(folder: Path) -> None:
    def spoil(store: ChainStore, batch: Batch) -> None:
        key, value = rows(store, BOOK)[0]
        batch.put(key, (int.from_bytes(value, "big") + 1).to_bytes(16, "big"))

    change(folder, spoil)
    with pytest.raises(InvariantViolation, match="SUPPLY_MISMATCH"):
        start(folder)


def test_a_start_on_outputs_that_do_not_sum_to_the_books_is_refused(folder: Path) -> None:
    def spoil(store: ChainStore, batch: Batch) -> None:
        key = next(key for key, _ in rows(store, STATE) if key[1:2] == b"o")
        batch.delete(key)

    change(folder, spoil)
    with pytest.raises(InvariantViolation, match="SUPPLY_MISMATCH"):
        start(folder)


def test_a_start_on_a_missing_tip_header_is_refused(folder: Path) -> None:
    change(folder, lambda store, batch: batch.delete(rows(store, HEADER)[-1][0]))
    with pytest.raises(StorageFailure, match="header is missing"):
        start(folder)


def test_a_false_seal_is_found_when_certificates_are_checked(store: ChainStore) -> None:

    validators = ValidatorSet(0, (PublicKey(bytes(31) + b"\x01"),))
    report = verify_store(
        store, CHAIN_ID, BUCKETS, validators_at=lambda height: validators, verify=lambda *_: False
    )
    assert all("CERTIFICATE_BAD_SEAL" in finding for finding in report.findings)
    assert len(report.findings) == 7
    clean = verify_store(
        store, CHAIN_ID, BUCKETS, validators_at=lambda height: validators, verify=lambda *_: True
    )
    assert clean.findings == []


def start(folder: Path) -> None:
    store = None
    try:
        store = open_chain_store(folder, CHAIN_ID, hot_set_bytes=1 << 24)
        check_open(store, CHAIN_ID, BUCKETS)
    finally:
        if store is not None:
            store.close()


def test_errors_carry_code_and_next_command(folder: Path) -> None:
    change(folder, lambda store, batch: batch.put(b"mtip", msgspec.msgpack.encode([1])))
    with pytest.raises(DrexError) as caught:
        start(folder)
    assert caught.value.code == "STORAGE_CORRUPT"
    assert "drexnode verify" in caught.value.message


def test_a_group_of_buckets_that_became_empty_leaves_no_page() -> None:
    """Found by scanning a network's stores: the tree kept a page of zeros that a tree built anew has not."""
    pages = RamPages()
    tree = StateTree(BUCKETS, pages)
    for change in ((None, b"1"), (b"1", None)):
        patch = tree.apply({b"s" + b"BRL": change})
        pages.take(patch)
        tree.commit(patch)
    assert len(pages) == 0
