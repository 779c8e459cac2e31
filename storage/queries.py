"""Reading the chain: blocks, transactions, balances and indexes, as of the applied tip.

Promises: every answer is as of one block; pages are bounded and a cursor continues exactly where its page
ended, as of the same block (or is refused as CURSOR_EXPIRED); nothing here writes. Belongs to the thread that
owns the store. Bytes in, bytes out: addresses and amounts for people are the caller's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from ledger.state import BALANCE, OUTPUT, SUPPLY, UnspentOutput, read_output
from ledger.supply import Supply, decode_supply
from ledger.transaction import OutPoint, Transaction, decode_transaction
from primitives.block import BlockHeader, block_id, decode_header
from primitives.certificate import CommitCertificate, decode_certificate
from primitives.errors import DrexError
from primitives.limits import (
    BODIES_PER_CHUNK,
    CURSOR_VIEWS,
    MAX_PAGE_ITEMS,
    MAX_SPENDER_SEARCH,
)
from primitives.validators import ValidatorSet
from storage.chain_store import ChainStore
from storage.layout import (
    CERTIFICATE,
    HEADER,
    HEIGHT_OF_BLOCK,
    HISTORY,
    META_BASE,
    META_PRUNED,
    STATE,
    TRANSACTION,
    after,
    bodies_key,
    content_key,
    damaged_row,
    height_key,
    read_location,
    reference_prefix,
    unpack_chunk,
    unspent_prefix,
)
from storage.leveldb import Reader, Snapshot
from storage.stored_block import StoredBlock as StoredBlock
from storage.stored_block import read_block
from storage.validator_rows import read_validators_at

T = TypeVar("T")


class QueryError(DrexError):
    """A question that has no answer here: CURSOR_INVALID, CURSOR_EXPIRED, BLOCK_PRUNED."""


@dataclass(frozen=True, slots=True)
class Located:
    """A final transaction and where it lies."""

    height: int
    position: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Unspent:
    """An unspent output with its name."""

    outpoint: OutPoint
    output: UnspentOutput


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A transaction that touched a lock."""

    height: int
    position: int
    txid: bytes


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows as of `height`; `cursor` continues after them and is None at the end."""

    height: int
    items: tuple[T, ...]
    cursor: bytes | None


class ChainQueries:
    """All reads of one store."""

    def __init__(self, store: ChainStore, chain_id: bytes) -> None:
        self._store = store
        self._chain_id = chain_id
        self._kept: OrderedDict[int, Snapshot] = OrderedDict()  # views that cursors still need, by height

    # --- blocks

    def header(self, height: int) -> BlockHeader | None:
        """The header of the final block at `height`, or None."""
        row = self._view.get(height_key(HEADER, height)) if height >= 0 else None
        return None if row is None else decode_header(row)

    def headers(self, first: int, last: int) -> list[BlockHeader]:
        """Headers of the heights first … last (inclusive) that exist; the caller bounds the range."""
        start, stop = height_key(HEADER, max(first, 0)), height_key(HEADER, max(last + 1, 0))
        return [decode_header(row) for _, row in self._view.scan(start, stop)]

    def height_of(self, block: bytes) -> int | None:
        """The height of the final block with this id, or None."""
        row = self._view.get(HEIGHT_OF_BLOCK + block)
        return None if row is None else int.from_bytes(row, "big")

    def certificate(self, height: int) -> CommitCertificate | None:
        """The certificate that made the block at `height` final; None for genesis and unknown heights."""
        row = self._view.get(height_key(CERTIFICATE, height)) if height >= 0 else None
        return None if row is None else decode_certificate(row)

    def validators_at(self, height: int) -> ValidatorSet | None:
        """The set that decided the block at `height`; None for an unknown height and a set not kept."""
        header = self.header(height)
        return None if header is None else read_validators_at(self._view, header)

    def block(self, height: int) -> StoredBlock | None:
        """The final block at `height` with its bodies, or None. Raises `QueryError` (BLOCK_PRUNED)."""
        header = self.header(height)
        if header is None and 0 <= height < self.base:
            raise self._without_bodies(height)
        return None if header is None else self._stored(self._view, header.height, block_id(header))

    def stored_block(self, height: int, block: bytes) -> StoredBlock | None:
        """A block that a vote made durable, decided or not; None when this node has no such block."""
        database = self._store.database
        if database.get(content_key(height, block)) is None:
            return None
        return self._stored(database, height, block)

    def bodies(self, height: int, block: bytes, chunk: int) -> list[bytes]:
        """One row of a final block's encoded transactions, in order: those from `chunk * BODIES_PER_CHUNK`
        on; empty past the last. For who reads a large block in slices. Raises `QueryError` (BLOCK_PRUNED)."""
        value = self._view.get(bodies_key(height, block, chunk))
        if value is None and height < self.pruned_below:
            raise self._without_bodies(height)
        return [] if value is None else unpack_chunk(value)

    @property
    def base(self) -> int:
        """From this height on every block has its header here; 0 but for a chain restored from a snapshot."""
        row = self._view.get(META_BASE)
        return 0 if row is None else int.from_bytes(row, "big")

    @property
    def pruned_below(self) -> int:
        """Blocks below this height have lost their bodies here; 0 when none have."""
        row = self._view.get(META_PRUNED)
        return 0 if row is None else int.from_bytes(row, "big")

    # --- transactions

    def transaction_height(self, txid: bytes) -> int | None:
        """The height at which a transaction became final, or None."""
        location = self.location(txid)
        return None if location is None else location[0]

    def location(self, txid: bytes) -> tuple[int, int] | None:
        """(height, position) of a final transaction, or None; known for pruned blocks, too."""
        row = self._view.get(TRANSACTION + txid)
        return None if row is None else read_location(row)

    def transaction(self, txid: bytes) -> Located | None:
        """A final transaction with its place, or None. Raises `QueryError` (BLOCK_PRUNED)."""
        row = self._view.get(TRANSACTION + txid)
        return None if row is None else self._located(*read_location(row))

    def by_reference(self, asset: str, reference: bytes, limit: int) -> list[HistoryEntry]:
        """The latest final transactions, newest first, that carry `reference` and touch `asset`."""
        prefix = reference_prefix(asset, reference)
        rows = self._view.scan(prefix, after(prefix), reverse=True)
        return [_entry(key, txid) for key, txid in _take(rows, limit) if len(key) == len(prefix) + 12]

    def history(self, lock: bytes, limit: int, cursor: bytes | None = None) -> Page[HistoryEntry]:
        """The transactions that touched `lock`, newest first."""
        prefix = HISTORY + lock
        view, height, stop = self._resume(prefix, cursor, after(prefix))
        rows = list(_take(view.scan(prefix, stop, reverse=True), _bounded(limit) + 1))
        items = tuple(_entry(key, txid) for key, txid in rows[: _bounded(limit)])
        return Page(height, items, self._cursor(view, height, prefix, [key for key, _ in rows], limit))

    def find_spender(self, outpoint: OutPoint, genesis_lock: bytes | None = None) -> tuple[bytes, int] | None:
        """Which transaction spent an output, and at what height; None when unspent, unknown or too long ago.

        Looks through the history of the output's lock, at most `MAX_SPENDER_SEARCH` entries. An output of
        the genesis was made by no transaction: the caller names its lock.
        """
        try:
            return self._find_spender(outpoint, genesis_lock)
        except QueryError:  # pruned: it only makes a refusal more precise
            return None

    def _find_spender(self, outpoint: OutPoint, genesis_lock: bytes | None) -> tuple[bytes, int] | None:
        lock, height = genesis_lock, 0
        if lock is None:
            made = self.transaction(outpoint.txid)
            outputs = () if made is None else self._decode(made.raw).body.outputs
            if made is None or outpoint.index >= len(outputs):
                return None
            lock, height = outputs[outpoint.index].lock, made.height
        start = HISTORY + lock + height.to_bytes(8, "big")
        for key, txid in _take(self._view.scan(start, after(HISTORY + lock)), MAX_SPENDER_SEARCH):
            height, position = read_location(key)
            located = self._located(height, position)
            if outpoint in self._decode(located.raw).body.inputs:
                return txid, height
        return None

    # --- money

    def unspent(
        self, lock: bytes, asset: str | None, limit: int, cursor: bytes | None = None
    ) -> Page[Unspent]:
        """The unspent outputs of a lock, of one asset or of all, ordered by asset and outpoint."""
        prefix = unspent_prefix(lock, asset)
        view, height, start = self._resume(prefix, cursor, prefix)
        rows = [key for key, _ in _take(view.scan(start, after(prefix)), _bounded(limit) + 1)]
        items = tuple(self._unspent(view, key) for key in rows[: _bounded(limit)])
        return Page(height, items, self._cursor(view, height, prefix, rows, limit))

    def balances(self, lock: bytes) -> dict[str, int]:
        """Sum of a lock's unspent outputs per asset, in smallest units."""
        prefix = STATE + BALANCE + lock
        rows = self._view.scan(prefix, after(prefix))
        return {key[len(prefix) :].decode(): int.from_bytes(value, "big") for key, value in rows}

    def supply(self, asset: str) -> Supply:
        """Emitted and burned of an asset; zero for one never emitted."""
        return decode_supply(self._store.state.get(SUPPLY + asset.encode()))

    def supplies(self) -> dict[str, Supply]:
        """Every asset that was ever emitted."""
        prefix = STATE + SUPPLY
        rows = self._view.scan(prefix, after(prefix))
        return {key[len(prefix) :].decode(): decode_supply(value) for key, value in rows}

    def state_entries(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """State entries whose key begins with `prefix`, in key order, at most `limit`."""
        start = STATE + prefix
        rows = _take(self._view.scan(start, after(start)), limit)
        return [(key[len(STATE) :], value) for key, value in rows]

    def scan_state(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All state entries whose key begins with `prefix`, in key order, as of the tip of this moment. For
        tools that own the store: a node that goes on needs bounded reads."""
        start = STATE + prefix
        rows = self._view.scan(start, after(start))
        return ((key[len(STATE) :], value) for key, value in rows)

    def close(self) -> None:
        """Release the views that cursors held."""
        for view in self._kept.values():
            view.close()
        self._kept.clear()

    # --- inside

    @property
    def _view(self) -> Snapshot:
        return self._store.state.view

    @property
    def _height(self) -> int:
        tip = self._store.tip
        return -1 if tip is None else tip.height

    def _decode(self, raw: bytes) -> Transaction:
        return decode_transaction(raw, self._chain_id)

    def _stored(self, reader: Reader, height: int, block: bytes) -> StoredBlock:
        stored = read_block(reader, height, block)
        if stored is not None:
            return stored
        if reader.get(content_key(height, block)) is None and height >= self.pruned_below:
            raise damaged_row(f"the content row of block {height} is missing")
        raise self._without_bodies(height)

    def _located(self, height: int, position: int) -> Located:
        header = self.header(height)
        if header is None:
            raise damaged_row(f"the header of block {height} is missing")
        chunk, place = divmod(position, BODIES_PER_CHUNK)
        value = self._view.get(bodies_key(height, block_id(header), chunk))
        if value is None:
            raise self._without_bodies(height)
        return Located(height, position, unpack_chunk(value)[place])

    def _without_bodies(self, height: int) -> DrexError:
        if height < self.pruned_below:
            message = f"block {height} was pruned here (bodies are kept from {self.pruned_below} on)"
            return QueryError("BLOCK_PRUNED", f"{message}; ask an archive node", height=height)
        return damaged_row(f"bodies of block {height} are missing")

    def _unspent(self, view: Snapshot, row: bytes) -> Unspent:
        name = row[-36:]
        value = view.get(STATE + OUTPUT + name)
        if value is None:
            raise damaged_row(f"the index names output {name.hex()}, which is not in the state")
        return Unspent(OutPoint(name[:32], int.from_bytes(name[32:], "big")), read_output(value))

    def _resume(self, prefix: bytes, cursor: bytes | None, begin: bytes) -> tuple[Snapshot, int, bytes]:
        """The view, its height and the key to go on from. A cursor is height(8) and that key."""
        if cursor is None:
            return self._view, self._height, begin
        height, key = int.from_bytes(cursor[:8], "big"), cursor[8:]
        if len(cursor) <= 8 or not key.startswith(prefix):
            raise QueryError("CURSOR_INVALID", "this cursor belongs to another question")
        if height == self._height:
            return self._view, height, key
        view = self._kept.get(height)
        if view is None:
            message = f"the cursor is as of block {height}, which is no longer held: start again without it"
            raise QueryError("CURSOR_EXPIRED", message, height=height)
        self._kept.move_to_end(height)
        return view, height, key

    def _cursor(
        self, view: Snapshot, height: int, prefix: bytes, rows: list[bytes], limit: int
    ) -> bytes | None:
        """The cursor to the row after the page, whose view is kept for a while; None at the end."""
        limit = _bounded(limit)
        if len(rows) <= limit:
            return None
        if view is self._view and height not in self._kept:
            self._kept[height] = self._store.state.keep_view()
            while len(self._kept) > CURSOR_VIEWS:
                self._kept.popitem(last=False)[1].close()
        newest_first = prefix[:1] == HISTORY
        key = rows[limit - 1] if newest_first else rows[limit]  # a reverse scan ends before its stop key
        return height.to_bytes(8, "big") + key


def _bounded(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE_ITEMS))


def _take(rows: Iterator[tuple[bytes, bytes]], limit: int) -> Iterator[tuple[bytes, bytes]]:
    for _, row in zip(range(limit), rows, strict=False):
        yield row


def _entry(key: bytes, txid: bytes) -> HistoryEntry:
    height, position = read_location(key)
    return HistoryEntry(height, position, txid)
