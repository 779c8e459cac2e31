"""Queries: what RPC and sync ask, as of one block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.state import balance_key
from ledger.transaction import OutPoint
from primitives.block import block_id
from storage.chain_store import ChainStore, open_chain_store
from storage.queries import ChainQueries, QueryError
from tests.storage.chains import ASSET, CHAIN_ID, SyntheticChain, commit, lock_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChainStore]:
    opened = open_chain_store(tmp_path / "chain", CHAIN_ID, hot_set_bytes=1 << 24, create=True)
    opened.state.warm()
    yield opened
    opened.close()


@pytest.fixture
def queries(store: ChainStore) -> Iterator[ChainQueries]:
    answers = ChainQueries(store, CHAIN_ID)
    yield answers
    answers.close()


def test_blocks_are_found_by_height_and_by_id(store: ChainStore, queries: ChainQueries) -> None:
    chain = SyntheticChain()
    made = list(chain.blocks(5))
    for one in made:
        commit(store, one)
    for one in made:
        header = queries.header(one.block.height)
        assert header == one.block.header
        assert queries.height_of(block_id(header)) == one.block.height
    assert queries.header(5) is None
    assert queries.header(-1) is None
    assert queries.block(5) is None
    assert queries.height_of(bytes(32)) is None
    assert queries.certificate(0) is None
    assert [header.height for header in queries.headers(1, 3)] == [1, 2, 3]
    assert [header.height for header in queries.headers(-4, 99)] == [0, 1, 2, 3, 4]


def test_transactions_are_found_with_their_place(store: ChainStore, queries: ChainQueries) -> None:
    chain = SyntheticChain()
    commit(store, chain.emission(200))
    made = chain.transfers(70)  # more than two rows of bodies
    commit(store, made)
    for position, transaction in enumerate(made.block.transactions):
        located = queries.transaction(transaction.txid)
        assert located is not None
        assert (located.height, located.position, located.raw) == (1, position, transaction.raw)
        assert queries.transaction_height(transaction.txid) == 1
    assert queries.transaction(bytes(32)) is None
    assert queries.transaction_height(bytes(32)) is None


def test_unspent_outputs_and_balances_agree_for_every_lock(store: ChainStore, queries: ChainQueries) -> None:
    chain = SyntheticChain(holders=5)
    for made in chain.blocks(15):
        commit(store, made)
    for holder in range(5):
        lock = lock_of(holder)
        page = queries.unspent(lock, None, 1000)
        expected = {outpoint: amount for outpoint, held, amount in chain.unspent if held == lock}
        assert {item.outpoint: item.output.amount for item in page.items} == expected
        assert page.cursor is None
        balance = int.from_bytes(chain.state.get(balance_key(lock, ASSET), b""), "big")
        assert queries.balances(lock).get(ASSET, 0) == balance == sum(expected.values())
        assert queries.unspent(lock, "OTHER", 1000).items == ()
    assert queries.balances(lock_of(99)) == {}


def test_pages_join_to_the_whole(store: ChainStore, queries: ChainQueries) -> None:
    chain = SyntheticChain(holders=1)
    commit(store, chain.emission(100))
    lock = lock_of(0)
    whole = queries.unspent(lock, ASSET, 1000).items
    assert len(whole) == 100
    gathered, cursor = list(queries.unspent(lock, ASSET, 7).items), queries.unspent(lock, ASSET, 7).cursor
    while cursor is not None:
        page = queries.unspent(lock, ASSET, 7, cursor)
        gathered += page.items
        cursor = page.cursor
    assert tuple(gathered) == whole


def test_a_cursor_goes_on_as_of_its_block_though_the_chain_has_moved(
    store: ChainStore, queries: ChainQueries
) -> None:
    chain = SyntheticChain(holders=1)
    commit(store, chain.emission(100))
    lock = lock_of(0)
    whole = queries.unspent(lock, ASSET, 1000).items
    page = queries.unspent(lock, ASSET, 30)
    gathered = list(page.items)
    while page.cursor is not None:
        commit(store, chain.transfers(10))
        page = queries.unspent(lock, ASSET, 30, page.cursor)
        assert page.height == 0
        gathered += page.items
    assert tuple(gathered) == whole
    assert queries.unspent(lock, ASSET, 1000).items != whole


def test_a_cursor_whose_block_is_long_gone_is_refused(store: ChainStore, queries: ChainQueries) -> None:
    chain = SyntheticChain(holders=1)
    commit(store, chain.emission(200))
    old = queries.unspent(lock_of(0), ASSET, 3).cursor
    for _ in range(20):
        commit(store, chain.transfers(2))
        queries.unspent(lock_of(0), ASSET, 3)
    with pytest.raises(QueryError, match="CURSOR_EXPIRED"):
        queries.unspent(lock_of(0), ASSET, 3, old)


@pytest.mark.parametrize("cursor", [b"", b"x", bytes(8), bytes(100), b"\xff" * 60])
def test_a_cursor_of_another_question_is_refused(
    store: ChainStore, queries: ChainQueries, cursor: bytes
) -> None:
    commit(store, SyntheticChain(holders=1).emission(10))
    with pytest.raises(QueryError, match="CURSOR_INVALID"):
        queries.unspent(lock_of(0), ASSET, 3, cursor)
    with pytest.raises(QueryError, match="CURSOR_INVALID"):
        queries.history(lock_of(0), 3, cursor)
    other = queries.unspent(lock_of(0), ASSET, 3).cursor
    with pytest.raises(QueryError, match="CURSOR_INVALID"):
        queries.unspent(lock_of(1), ASSET, 3, other)


def test_history_is_newest_first_and_its_pages_join(store: ChainStore, queries: ChainQueries) -> None:
    chain = SyntheticChain(holders=3)
    expected: list[bytes] = []
    for made in chain.blocks(12):
        commit(store, made)
        for tx in made.block.transactions:
            expected.append(tx.txid)
    found: set[bytes] = set()
    for holder in range(3):
        whole = queries.history(lock_of(holder), 1000).items
        assert [(e.height, e.position) for e in whole] == sorted(
            ((e.height, e.position) for e in whole), reverse=True
        )
        page = queries.history(lock_of(holder), 4)
        gathered = list(page.items)
        while page.cursor is not None:
            page = queries.history(lock_of(holder), 4, page.cursor)
            gathered += page.items
        assert tuple(gathered) == whole
        found.update(entry.txid for entry in whole)
    assert found == set(expected)


def test_a_reference_leads_to_its_transactions_newest_first(store: ChainStore, queries: ChainQueries) -> None:
    chain = SyntheticChain()
    first = chain.emission(30, reference=b"order-1")
    commit(store, first)
    second = chain.transfers(3, reference=b"order-1")
    commit(store, second)
    commit(store, chain.transfers(1, reference=b"order-10"))
    entries = queries.by_reference(ASSET, b"order-1", 10)
    assert [entry.height for entry in entries] == [1, 1, 1, 0]
    assert entries[-1].txid == first.block.transactions[0].txid
    assert queries.by_reference(ASSET, b"order-1", 2) == entries[:2]
    assert queries.by_reference("OTHER", b"order-1", 10) == []
    assert queries.by_reference(ASSET, b"order", 10) == []


def test_the_spender_of_an_output_is_named(store: ChainStore, queries: ChainQueries) -> None:
    chain = SyntheticChain()
    emission = chain.emission(30)
    commit(store, emission)
    made = chain.transfers(3)
    commit(store, made)
    spender = made.block.transactions[1]
    assert queries.find_spender(spender.body.inputs[0]) == (spender.txid, 1)
    assert queries.find_spender(OutPoint(spender.txid, 0)) is None
    assert queries.find_spender(OutPoint(spender.txid, 9)) is None
    assert queries.find_spender(OutPoint(bytes(32), 0)) is None


def test_supplies_list_every_asset_ever_emitted(store: ChainStore, queries: ChainQueries) -> None:
    assert queries.supplies() == {}
    chain = SyntheticChain()
    commit(store, chain.emission(4, amount=50))
    assert queries.supplies()[ASSET].circulating == 200
    assert queries.supply("NONE").emitted == 0
    assert [key for key, _ in queries.state_entries(b"s", 10)] == [b"s" + ASSET.encode()]
