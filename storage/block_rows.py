"""The index rows a block brings: where its transactions are, whom they touched, what they refer to.

Pure: from a block and its delta to sorted rows. Locks and assets of spent outputs come from the delta's old
values or, for outputs made and spent within the block, from the block itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.block import Block
from ledger.slices import Slices
from ledger.state import OUTPUT, Change
from ledger.transaction import Transaction
from primitives.errors import InvariantViolation
from primitives.limits import TRANSACTIONS_PER_SLICE
from storage.layout import HISTORY, REFERENCE, TRANSACTION, UNSPENT

_LOCK = 32
_ASSET = 40  # an output's value is lock(32) + amount(8) + asset name
_OUTPUT = OUTPUT[0]


@dataclass(slots=True)
class IndexRows:
    """Rows to put (with values) and unspent rows to put or delete, in no order."""

    transactions: list[tuple[bytes, bytes]] = field(default_factory=list)
    history: list[tuple[bytes, bytes]] = field(default_factory=list)
    references: list[tuple[bytes, bytes]] = field(default_factory=list)


def index_rows(block: Block, changes: Mapping[bytes, Change]) -> Slices[IndexRows]:
    """The rows of `TRANSACTION`, `HISTORY` and `REFERENCE` for a block, in slices.

    Raises `InvariantViolation` (INDEX_UNKNOWN_INPUT) when an input is neither in the delta nor in the block.
    """
    rows = IndexRows()
    made: dict[bytes, tuple[bytes, bytes]] = {}  # output key -> lock, asset name, of this block's outputs
    height = block.height.to_bytes(8, "big")
    for position, transaction in enumerate(block.transactions):
        where = height + position.to_bytes(4, "big")
        txid = transaction.txid
        locks, assets = _touched(transaction, changes, made)
        rows.transactions.append((TRANSACTION + txid, where))
        for lock in locks:
            rows.history.append((HISTORY + lock + where, txid))
        reference = transaction.body.reference
        if reference:
            tail = bytes((len(reference),)) + reference + where
            for asset in assets:
                rows.references.append((REFERENCE + bytes((len(asset),)) + asset + tail, txid))
        if position % TRANSACTIONS_PER_SLICE == TRANSACTIONS_PER_SLICE - 1:
            yield
    return rows


def _touched(
    transaction: Transaction,
    changes: Mapping[bytes, Change],
    made: dict[bytes, tuple[bytes, bytes]],
) -> tuple[set[bytes], set[bytes]]:
    """Locks and asset names of everything a transaction spends, makes or orders about."""
    body = transaction.body
    locks: set[bytes] = set()
    assets: set[bytes] = set()
    for txid, index in ((outpoint.txid, outpoint.index) for outpoint in body.inputs):
        key = OUTPUT + txid + index.to_bytes(4, "big")
        change = changes.get(key)
        if change is not None and change[0] is not None:
            locks.add(change[0][:_LOCK])
            assets.add(change[0][_ASSET:])
        elif key in made:
            lock, asset = made[key]
            locks.add(lock)
            assets.add(asset)
        else:
            message = f"input {txid.hex()}:{index} of {transaction.txid.hex()} came from nowhere"
            raise InvariantViolation("INDEX_UNKNOWN_INPUT", message)
    prefix = OUTPUT + transaction.txid
    for index, output in enumerate(body.outputs):
        asset = output.asset.encode()
        locks.add(output.lock)
        assets.add(asset)
        made[prefix + index.to_bytes(4, "big")] = (output.lock, asset)
    subject = getattr(transaction.payload, "lock", None)
    if isinstance(subject, bytes) and len(subject) == _LOCK:
        locks.add(subject)  # freeze and unfreeze name the lock they are about
    return locks, assets


def unspent_row(output_key: bytes, value: bytes) -> bytes:
    """Key of the `UNSPENT` row of an output, from its state entry."""
    asset = value[_ASSET:]
    return UNSPENT + value[:_LOCK] + bytes((len(asset),)) + asset + output_key[1:]
