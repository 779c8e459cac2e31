"""The rows a block's batch brings beside its contents: its state changes, what is unspent now, where its
transactions are, whom they touched, what they refer to.

Locks and assets of spent outputs come from the delta's old values or, for outputs made and spent within the
block, from the block itself. Rows of a kind are put in key order: LevelDB sorts them in RAM, and neighbours
cost it half of what rows at random places do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from ledger.block import Block
from ledger.slices import Slices
from ledger.state import OUTPUT, Change, StateDelta, output_value
from ledger.transaction import OutPoint, Transaction
from primitives.errors import InvariantViolation
from primitives.limits import STORAGE_ROWS_PER_SLICE
from storage.layout import HISTORY, REFERENCE, STATE, TRANSACTION, UNSPENT
from storage.leveldb import Batch

_LOCK = 32
_ASSET = 40  # an output's value is lock(32) + amount(8) + asset name

_Row = tuple[bytes, bytes]
_key = itemgetter(0)


def put_state(batch: Batch, changes: Mapping[bytes, Change], keys: Sequence[bytes]) -> Slices[int]:
    """The rows of `STATE` for changes whose sorted keys are `keys`, in slices; returns how many."""
    put, delete = batch.put, batch.delete
    for start in range(0, len(keys), STORAGE_ROWS_PER_SLICE):
        for key in keys[start : start + STORAGE_ROWS_PER_SLICE]:
            value = changes[key][1]
            if value is None:
                delete(STATE + key)
            else:
                put(STATE + key, value)
        yield
    return len(keys)


def put_unspent(batch: Batch, delta: StateDelta) -> Slices[int]:
    """The rows of `UNSPENT` that a delta's outputs delete and put, in slices; returns how many."""
    gone = yield from _unspent_rows(delta.gone)
    for start in range(0, len(gone), STORAGE_ROWS_PER_SLICE):
        for row in gone[start : start + STORAGE_ROWS_PER_SLICE]:
            batch.delete(row)
        yield
    made = yield from _unspent_rows(delta.made)
    put = batch.put
    for start in range(0, len(made), STORAGE_ROWS_PER_SLICE):
        for row in made[start : start + STORAGE_ROWS_PER_SLICE]:
            put(row, b"")
        yield
    return len(gone) + len(made)


def _unspent_rows(entries: Sequence[_Row]) -> Slices[list[bytes]]:
    """The keys of `unspent_row` for outputs, in order."""
    rows: list[bytes] = []
    for start in range(0, len(entries), STORAGE_ROWS_PER_SLICE):
        rows += [unspent_row(key, value) for key, value in entries[start : start + STORAGE_ROWS_PER_SLICE]]
        yield
    rows.sort()
    return rows


def put_indexes(batch: Batch, block: Block, changes: Mapping[bytes, Change]) -> Slices[int]:
    """The rows of `TRANSACTION`, `HISTORY` and `REFERENCE` for a block, in slices; returns how many.

    Raises `InvariantViolation` (INDEX_UNKNOWN_INPUT) when an input is neither in the delta nor in the block.
    """
    transactions: list[_Row] = []
    history: list[_Row] = []
    references: list[_Row] = []
    add_transaction, add_history = transactions.append, history.append
    value_of = _Inputs(block, changes).value_of
    height = block.height.to_bytes(8, "big")
    work = 0
    for position, transaction in enumerate(block.transactions):
        where = height + position.to_bytes(4, "big")
        txid, body = transaction.txid, transaction.body
        add_transaction((TRANSACTION + txid, where))
        locks = {output.lock for output in body.outputs}
        for outpoint in body.inputs:
            locks.add(value_of(outpoint)[:_LOCK])
        if not locks:
            locks.update(_subjects(transaction))
        for lock in locks:
            add_history((HISTORY + lock + where, txid))
        if body.reference:
            references.extend(_reference_rows(transaction, value_of, where))
        work += 1 + len(body.inputs) + len(body.outputs)
        if work >= STORAGE_ROWS_PER_SLICE:
            work = 0
            yield
    for rows in (transactions, history, references):
        rows.sort(key=_key)
        yield
        for start in range(0, len(rows), STORAGE_ROWS_PER_SLICE):
            for key, value in rows[start : start + STORAGE_ROWS_PER_SLICE]:
                batch.put(key, value)
            yield
    return len(transactions) + len(history) + len(references)


class _Inputs:
    """The entries that a block's inputs spend."""

    def __init__(self, block: Block, changes: Mapping[bytes, Change]) -> None:
        self._block = block
        self._changes = changes
        self._made: dict[bytes, Transaction] | None = None

    def value_of(self, outpoint: OutPoint) -> bytes:
        """The state entry of a spent output: from before the block, or as the block itself made it."""
        change = self._changes.get(OUTPUT + outpoint.txid + outpoint.index.to_bytes(4, "big"))
        if change is not None and change[0] is not None:
            return change[0]
        if self._made is None:
            self._made = {transaction.txid: transaction for transaction in self._block.transactions}
        maker = self._made.get(outpoint.txid)
        if maker is None or outpoint.index >= len(maker.body.outputs):
            message = f"input {outpoint.txid.hex()}:{outpoint.index} came from nowhere"
            raise InvariantViolation("INDEX_UNKNOWN_INPUT", message)
        output = maker.body.outputs[outpoint.index]
        return output_value(output.lock, output.value, output.asset)


def _reference_rows(
    transaction: Transaction, value_of: Callable[[OutPoint], bytes], where: bytes
) -> list[_Row]:
    """One row for each asset that a transaction with a reference spends or makes."""
    body = transaction.body
    assets = {output.asset.encode() for output in body.outputs}
    assets.update(value_of(outpoint)[_ASSET:] for outpoint in body.inputs)
    tail = bytes((len(body.reference),)) + body.reference + where
    return [(REFERENCE + bytes((len(asset),)) + asset + tail, transaction.txid) for asset in sorted(assets)]


def _subjects(transaction: Transaction) -> list[bytes]:
    """The lock that a freeze or an unfreeze is about."""
    subject = getattr(transaction.payload, "lock", None)
    return [subject] if isinstance(subject, bytes) and len(subject) == _LOCK else []


def unspent_row(output_key: bytes, value: bytes) -> bytes:
    """Key of the `UNSPENT` row of an output, from its state entry."""
    asset = value[_ASSET:]
    return UNSPENT + value[:_LOCK] + bytes((len(asset),)) + asset + output_key[1:]
