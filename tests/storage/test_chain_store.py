"""The chain store: a block is there whole or not at all, and nothing that does not fit is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from ledger.block import Block
from ledger.slices import finish
from ledger.state import RULE_CATEGORIES, AssetFacts, Change, StateDelta, output_key
from ledger.transaction import Transaction
from primitives.errors import InvariantViolation, StorageFailure
from storage import leveldb
from storage.acknowledged import AcknowledgedMark
from storage.chain_store import ChainStore, open_chain_store
from storage.integrity import check_open
from storage.layout import BODIES, CONTENT, META_SCHEMA, SCHEMA_VERSION, after
from storage.queries import ChainQueries
from storage.schema import SchemaRow
from tests.storage.chains import ASSET, BUCKETS, CHAIN_ID, Made, SyntheticChain, commit

HOT = 1 << 24


def open_store(folder: Path, *, create: bool = False, hot_set_bytes: int = HOT) -> ChainStore:
    return open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=hot_set_bytes, create=create)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChainStore]:
    opened = open_store(tmp_path, create=True)
    check_open(opened, CHAIN_ID, BUCKETS)
    yield opened
    opened.close()


@pytest.fixture
def chain() -> SyntheticChain:
    return SyntheticChain(seed=7)


def test_what_was_committed_is_there_after_reopening(tmp_path: Path, chain: SyntheticChain) -> None:
    store = open_store(tmp_path, create=True)
    made = list(chain.blocks(20))
    for block in made:
        commit(store, block)
    store.close()
    again = open_store(tmp_path)
    tree = check_open(again, CHAIN_ID, BUCKETS)
    assert again.tip is not None
    assert again.tip.header == made[-1].block.header
    assert tree.root == chain.tree.root
    assert {key: again.state.get(key) for key in chain.state} == chain.state
    queries = ChainQueries(again, CHAIN_ID)
    for expected in made:
        stored = queries.block(expected.block.height)
        assert stored is not None
        assert stored.header == expected.block.header
        assert stored.transactions == tuple(tx.raw for tx in expected.block.transactions)
        assert queries.certificate(expected.block.height) == expected.certificate
    again.close()


def test_compressed_tables_of_earlier_releases_are_read_and_go_on(
    tmp_path: Path, chain: SyntheticChain
) -> None:
    def open_compressed(path: Path, create: bool, cache_bytes: int) -> Any:
        path.mkdir(parents=True, exist_ok=True)
        engine = leveldb.plyvel  # type: ignore[attr-defined]
        return engine.DB(str(path), create_if_missing=create, compression="snappy", bloom_filter_bits=10)

    def zeros_in_tables() -> bool:  # of a signature: in the clear only where nothing is compressed
        return any(bytes(64) in path.read_bytes() for path in (tmp_path / "chain").glob("*.ldb"))

    with mock.patch.object(leveldb, "_open_engine", open_compressed):
        store = open_store(tmp_path, create=True)
        for block in chain.blocks(20):
            commit(store, block)
        store.database.compact()
        store.close()
    assert not zeros_in_tables()
    again = open_store(tmp_path)
    tree = check_open(again, CHAIN_ID, BUCKETS)
    assert tree.root == chain.tree.root
    assert {key: again.state.get(key) for key in chain.state} == chain.state
    for block in chain.blocks(5):
        commit(again, block)
    again.database.compact()
    again.close()
    assert zeros_in_tables()
    last = open_store(tmp_path)
    assert check_open(last, CHAIN_ID, BUCKETS).root == chain.tree.root
    last.close()


def test_compacting_gives_the_room_of_deleted_rows_back(tmp_path: Path) -> None:
    database = leveldb.open_database(tmp_path / "rows", create=True)
    keys = [b"t" + number.to_bytes(4, "big") for number in range(200)]
    batch = database.batch()
    for key in keys:
        batch.put(key, key * 2_000)
    database.write(batch)
    database.compact()
    before = database.size_bytes()
    batch = database.batch()
    for key in keys:
        batch.delete(key)
    database.write(batch)
    database.compact()
    assert database.size_bytes() < before / 10
    database.close()


def test_a_prepared_block_changes_nothing_until_it_is_applied(
    store: ChainStore, chain: SyntheticChain
) -> None:
    commit(store, chain.emission(50))
    before = dict(chain.state)
    made = chain.transfers(10)
    prepared = finish(store.prepare(made.block, made.delta, made.patch))
    assert {key: store.state.get(key) for key in before} == before
    store.write(prepared, made.certificate)
    assert {key: store.state.get(key) for key in before} == before
    assert store.tip is not None
    assert store.tip.height == 0
    store.apply(prepared)
    assert {key: store.state.get(key) for key in chain.state} == chain.state
    assert all(store.state.get(key) is None for key in before.keys() - chain.state.keys())
    assert store.tip.height == 1


def test_a_small_hot_set_answers_as_of_the_applied_tip_while_a_block_is_written(
    tmp_path: Path, chain: SyntheticChain
) -> None:
    store = open_store(tmp_path, create=True, hot_set_bytes=2000)
    commit(store, chain.emission(50))
    before = dict(chain.state)
    made = chain.transfers(20)
    prepared = finish(store.prepare(made.block, made.delta, made.patch))
    store.write(prepared, made.certificate)
    assert {key: store.state.get(key) for key in before} == before
    store.apply(prepared)
    assert {key: store.state.get(key) for key in chain.state} == chain.state
    assert store.state.figures().bytes <= 2000
    store.close()


def test_bodies_that_a_vote_stored_are_not_written_again(store: ChainStore, chain: SyntheticChain) -> None:
    commit(store, chain.emission(50))
    made = chain.transfers(20)
    chain_bytes = sum(len(tx.raw) for tx in made.block.transactions)
    store.write_bodies(made.block)
    prepared = finish(store.prepare(made.block, made.delta, made.patch))
    before = store.database.size_bytes()
    puts: list[int] = []
    put = prepared.batch.put

    def counted(key: bytes, value: bytes) -> None:
        puts.append(len(value))
        put(key, value)

    prepared.batch.put = counted
    store.write(prepared, made.certificate)
    assert sum(puts) < chain_bytes // 2
    assert store.database.size_bytes() >= before
    store.apply(prepared)
    stored = ChainQueries(store, CHAIN_ID).block(1)
    assert stored is not None
    assert stored.transactions == tuple(tx.raw for tx in made.block.transactions)


def test_a_locked_block_is_found_after_reopening_and_another_decision_drops_it(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    first, second = SyntheticChain(seed=3), SyntheticChain(seed=3)
    genesis = first.emission(50)
    second.emission(50)
    commit(store, genesis)
    locked, decided = first.transfers(10), second.transfers(11)
    store.write_bodies(locked.block)
    store.close()
    store = open_store(tmp_path)
    found = ChainQueries(store, CHAIN_ID).stored_block(1, locked.block.block_id)
    assert found is not None
    assert found.wtxids == tuple(locked.block.wtxids)
    commit(store, decided)
    queries = ChainQueries(store, CHAIN_ID)
    assert queries.stored_block(1, locked.block.block_id) is None
    assert queries.stored_block(1, decided.block.block_id) is not None
    store.close()


def test_a_block_that_does_not_follow_the_tip_is_refused(store: ChainStore, chain: SyntheticChain) -> None:
    genesis, first, second = chain.emission(50), chain.transfers(3), chain.transfers(3)
    with pytest.raises(InvariantViolation, match="BLOCK_NOT_NEXT"):
        finish(store.prepare(first.block, first.delta, first.patch))
    commit(store, genesis)
    with pytest.raises(InvariantViolation, match="BLOCK_NOT_NEXT"):
        finish(store.prepare(second.block, second.delta, second.patch))
    with pytest.raises(InvariantViolation, match="BLOCK_NOT_NEXT"):
        finish(store.prepare(genesis.block, genesis.delta, genesis.patch))


def test_a_certificate_of_another_block_is_refused(store: ChainStore, chain: SyntheticChain) -> None:
    commit(store, chain.emission(50))
    made = chain.transfers(3)
    prepared = finish(store.prepare(made.block, made.delta, made.patch))
    assert made.certificate is not None
    other = msgspec.structs.replace(made.certificate, block_id=bytes(32))
    with pytest.raises(InvariantViolation, match="CERTIFICATE_MISMATCH"):
        store.write(prepared, other)
    with pytest.raises(InvariantViolation, match="CERTIFICATE_MISSING"):
        store.write(prepared, None)


def test_a_patch_that_makes_another_root_is_refused(store: ChainStore, chain: SyntheticChain) -> None:
    made = chain.emission(5)
    patch = replace(made.patch, root=bytes(32))
    with pytest.raises(InvariantViolation, match="STATE_ROOT_MISMATCH"):
        finish(store.prepare(made.block, made.delta, patch))


def _with_change(made: Made, key: bytes, new: bytes | None) -> StateDelta:
    changes = dict(made.delta.changes)
    changes[key] = (changes[key][0], new) if key in changes else (None, new)
    return StateDelta.of(changes)


def test_money_from_nowhere_halts_before_it_is_written(store: ChainStore, chain: SyntheticChain) -> None:
    commit(store, chain.emission(50))
    made = chain.transfers(3)
    key = output_key(made.block.transactions[0].txid, 0)
    value = made.delta.changes[key][1]
    assert value is not None
    richer = value[:32] + (int.from_bytes(value[32:40], "big") + 1).to_bytes(8, "big") + value[40:]
    with pytest.raises(InvariantViolation, match="SUPPLY_MISMATCH"):
        finish(store.prepare(made.block, _with_change(made, key, richer), made.patch))


def test_a_supply_entry_without_money_halts(store: ChainStore, chain: SyntheticChain) -> None:
    commit(store, chain.emission(50))
    made = chain.transfers(3)
    delta = _with_change(made, b"s" + ASSET.encode(), (99).to_bytes(8, "big") + bytes(8))
    with pytest.raises(InvariantViolation, match="SUPPLY_MISMATCH"):
        finish(store.prepare(made.block, delta, made.patch))


def test_spending_an_output_that_is_not_stored_as_executed_halts(
    store: ChainStore, chain: SyntheticChain
) -> None:
    commit(store, chain.emission(50))
    made = chain.transfers(3)
    changes = dict(made.delta.changes)
    key = next(key for key, (old, new) in changes.items() if key[:1] == b"o" and new is None)
    old = changes[key][0]
    assert old is not None
    changes[key] = (bytes(32) + old[32:], None)
    with pytest.raises(InvariantViolation, match="OUTPUT_MISMATCH"):
        finish(store.prepare(made.block, StateDelta.of(changes), made.patch))


def test_a_block_without_all_its_transactions_is_refused(store: ChainStore, chain: SyntheticChain) -> None:
    made = chain.emission(5)
    with pytest.raises(InvariantViolation, match="BLOCK_INCOMPLETE"):
        finish(store.prepare(Block(made.block.header, ()), made.delta, made.patch))


def test_burned_money_leaves_the_books(store: ChainStore, chain: SyntheticChain) -> None:
    commit(store, chain.emission(5, amount=100))
    commit(store, chain.burn())
    assert store.books == {ASSET.encode(): 400}
    supply = ChainQueries(store, CHAIN_ID).supply(ASSET)
    assert (supply.emitted, supply.burned, supply.circulating) == (500, 100, 400)


def test_a_failed_write_poisons_the_database_and_reopening_recovers(
    tmp_path: Path, chain: SyntheticChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path, create=True)
    commit(store, chain.emission(50))
    made = chain.transfers(3)
    prepared = finish(store.prepare(made.block, made.delta, made.patch))

    class Failing:
        def write(self) -> None:
            raise OSError("IO error: 000004.log: Input/output error")

    monkeypatch.setattr(prepared.batch, "_engine_batch", Failing())
    with pytest.raises(StorageFailure, match="STORAGE_WRITE_FAILED"):
        store.write(prepared, made.certificate)
    with pytest.raises(StorageFailure, match="STORAGE_POISONED"):
        store.write_bodies(made.block)
    with pytest.raises(StorageFailure, match="STORAGE_POISONED"):
        store.database.get(b"x")
    store.close()
    again = open_store(tmp_path)
    check_open(again, CHAIN_ID, BUCKETS)
    commit(again, made)
    again.close()


def test_data_of_another_chain_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, create=True).close()
    with pytest.raises(StorageFailure, match="STORAGE_FOREIGN"):
        open_chain_store(tmp_path / "chain", bytes(32), hot_set_bytes=HOT)


def test_a_newer_layout_is_refused_by_this_program(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    batch = store.database.batch()
    batch.put(META_SCHEMA, msgspec.msgpack.encode(SchemaRow(SCHEMA_VERSION + 1)))
    store.database.write(batch)
    store.close()
    with pytest.raises(StorageFailure, match="use the newer one"):
        open_store(tmp_path)


def test_a_missing_database_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure, match="drexnode init"):
        open_store(tmp_path)


def test_two_processes_cannot_open_one_store(tmp_path: Path) -> None:
    store = open_store(tmp_path, create=True)
    with pytest.raises(StorageFailure, match="STORAGE_LOCKED"):
        open_store(tmp_path)
    store.close()


def test_a_log_cut_short_is_noticed_at_start(tmp_path: Path, chain: SyntheticChain) -> None:
    store = open_store(tmp_path, create=True)
    commit(store, chain.emission(50))
    folder = tmp_path / "chain"
    log = next(folder.glob("*.log"))
    complete = log.stat().st_size
    commit(store, chain.transfers(5))
    store.close()
    with log.open("r+b") as file:
        file.truncate(complete)
    with pytest.raises(StorageFailure, match="STORAGE_LOST_BLOCKS"):
        open_store(tmp_path)


def test_the_mark_never_gets_ahead_and_survives_a_torn_side(tmp_path: Path) -> None:
    mark = AcknowledgedMark(tmp_path / "mark")
    assert mark.height == -1
    for height in range(5):
        mark.raise_to(height)
    mark.close()
    data = bytearray((tmp_path / "mark").read_bytes())
    data[0] ^= 1
    (tmp_path / "mark").write_bytes(data)
    assert AcknowledgedMark(tmp_path / "mark").height == 3


def test_an_empty_block_and_a_block_within_a_block_commit(store: ChainStore, chain: SyntheticChain) -> None:
    commit(store, chain.emission(3))
    commit(store, chain.empty())
    assert store.tip is not None
    assert store.tip.height == 1


def test_a_copy_of_the_directory_opens_as_the_same_chain(tmp_path: Path, chain: SyntheticChain) -> None:
    store = open_store(tmp_path, create=True)
    for made in chain.blocks(10):
        commit(store, made)
    shutil.copytree(tmp_path / "chain", tmp_path / "copy" / "chain")
    store.close()
    copy = open_store(tmp_path / "copy")
    assert check_open(copy, CHAIN_ID, BUCKETS).root == chain.tree.root
    copy.close()


def test_a_vote_that_stores_a_block_after_it_became_final_never_costs_its_bodies(
    store: ChainStore, chain: SyntheticChain
) -> None:
    """Found on a loaded network: the vote's write ended after a sync had made the block final, and the next
    commit dropped the bodies as those of an undecided block."""
    made = list(chain.blocks(3))
    commit(store, made[0])
    tip = store.tip
    store._tip = None  # the vote's thread looked before the block was applied
    store.write_bodies(made[0].block)
    store._tip = tip
    for block in made[1:]:
        commit(store, block)
    assert ChainQueries(store, CHAIN_ID).block(made[0].block.height) is not None


def test_a_block_stored_beside_the_final_one_goes_with_the_next_even_after_a_kill(tmp_path: Path) -> None:
    """A block found OK becomes durable while another is decided: nothing of it stays for ever."""
    chain, other = SyntheticChain(seed=3), SyntheticChain(seed=3)
    store = open_store(tmp_path, create=True)
    genesis = chain.emission(40)
    commit(store, genesis)
    other.emission(40)
    lost, decided = other.transfers(3), chain.transfers(5)
    tip = store.tip
    commit(store, decided)
    store._tip, tip = tip, store.tip  # the vote's thread looked before the block was applied
    store.write_bodies(lost.block)
    store._tip = tip
    assert store.undecided == []
    store.close()
    store = open_store(tmp_path)
    assert store.undecided == []
    assert ChainQueries(store, CHAIN_ID).block(1) is not None
    commit(store, chain.transfers(2))
    for kind in (CONTENT, BODIES):
        stored = {key[9:41] for key, _ in store.database.scan(kind, after(kind))}
        assert lost.block.block_id not in stored
        assert decided.block.block_id in stored
    store.close()


class RegistryChain(SyntheticChain):
    """Also changes `extra` entries of the state with each block."""

    extra: Mapping[bytes, Change] = {}

    def _changes(self, transactions: list[Transaction], emitted: int, burned: int) -> dict[bytes, Change]:
        return {**super()._changes(transactions, emitted, burned), **self.extra}


def test_shared_facts_last_until_a_block_changes_rules(store: ChainStore) -> None:
    chain = RegistryChain(seed=7)
    commit(store, chain.emission(16))
    for category in RULE_CATEGORIES:
        store.state.shared_facts[b"BRL"] = known = AssetFacts("BRL", mock.sentinel.policy)
        chain.extra = {}
        commit(store, chain.transfers(2))
        assert store.state.shared_facts == {b"BRL": known}
        chain.extra = {category + b"something": (None, b"\x00")}
        commit(store, chain.transfers(1))
        assert store.state.shared_facts == {}


def test_opening_again_lets_go_of_the_tables_that_the_start_has_read(
    tmp_path: Path, chain: SyntheticChain
) -> None:
    store = open_store(tmp_path, create=True)
    for block in chain.blocks(4):
        commit(store, block)
    store.close()
    open_store(tmp_path).close()  # carries the log into a table
    again = open_store(tmp_path)
    tree = check_open(again, CHAIN_ID, BUCKETS)
    assert list(_mapped_tables(tmp_path))
    again.state.reopen()
    assert not list(_mapped_tables(tmp_path))
    chain.tree = tree
    commit(again, chain.transfers(3))
    assert {key: again.state.get(key) for key in chain.state} == chain.state
    again.close()


def _mapped_tables(folder: Path) -> Iterator[str]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(".ldb") and str(folder) in line:
            yield line


def test_a_database_that_another_process_takes_meanwhile_stays_closed(tmp_path: Path) -> None:
    database = open_store(tmp_path, create=True).database
    held = database._engine
    database._engine = mock.Mock()  # whose close lets go of nothing, as if another process had come between
    with pytest.raises(StorageFailure, match="STORAGE_LOCKED"):
        database.reopen()
    with pytest.raises(StorageFailure, match="STORAGE_CLOSED"):
        database.get(META_SCHEMA)
    held.close()
