"""The index rows a block brings: where its transactions are, whom they touched, what they refer to.

Pure: from a block and its delta to sorted rows. Locks and assets of spent outputs come from the delta's old
values or, for outputs made and spent within the block, from the block itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.block import Block
from ledger.slices import Slices
from ledger.state import OUTPUT, Change, output_value
from ledger.transaction import OutPoint, Transaction
from primitives.errors import InvariantViolation
from primitives.limits import TRANSACTIONS_PER_SLICE
from storage.layout import HISTORY, REFERENCE, TRANSACTION, UNSPENT

_LOCK = 32
_ASSET = 40  # an output's value is lock(32) + amount(8) + asset name


@dataclass(slots=True)
class IndexRows:
    """Rows to put, in no order."""

    transactions: list[tuple[bytes, bytes]] = field(default_factory=list)
    history: list[tuple[bytes, bytes]] = field(default_factory=list)
    references: list[tuple[bytes, bytes]] = field(default_factory=list)


def index_rows(block: Block, changes: Mapping[bytes, Change]) -> Slices[IndexRows]:
    """The rows of `TRANSACTION`, `HISTORY` and `REFERENCE` for a block, in slices.

    Raises `InvariantViolation` (INDEX_UNKNOWN_INPUT) when an input is neither in the delta nor in the block.
    """
    rows = IndexRows()
    add_transaction, add_history = rows.transactions.append, rows.history.append
    inputs = _Inputs(block, changes)
    height = block.height.to_bytes(8, "big")
    for position, transaction in enumerate(block.transactions):
        where = height + position.to_bytes(4, "big")
        txid, body = transaction.txid, transaction.body
        add_transaction((TRANSACTION + txid, where))
        locks = {output.lock for output in body.outputs}
        for outpoint in body.inputs:
            locks.add(inputs.value_of(outpoint)[:_LOCK])
        if not body.inputs and not body.outputs:
            locks.update(_subjects(transaction))
        for lock in locks:
            add_history((HISTORY + lock + where, txid))
        if body.reference:
            rows.references.extend(_reference_rows(transaction, inputs, where))
        if position % TRANSACTIONS_PER_SLICE == TRANSACTIONS_PER_SLICE - 1:
            yield
    return rows


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


def _reference_rows(transaction: Transaction, inputs: _Inputs, where: bytes) -> list[tuple[bytes, bytes]]:
    """One row for each asset that a transaction with a reference spends or makes."""
    body = transaction.body
    assets = {output.asset.encode() for output in body.outputs}
    assets.update(inputs.value_of(outpoint)[_ASSET:] for outpoint in body.inputs)
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
