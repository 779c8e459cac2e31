"""Transactions that a node has seen lately, beside its pool.

Guarantees: bounded by count and bytes, the oldest are forgotten first; a body is found by its wtxid or by its
exact bytes, so that a copy from another peer is not decoded again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ledger.transaction import Transaction
from primitives.limits import BODIES_BYTES, BODIES_KEPT


class Bodies:
    """Recently seen transactions, valid or not."""

    def __init__(self, max_transactions: int = BODIES_KEPT, max_bytes: int = BODIES_BYTES) -> None:
        self._max_transactions = max_transactions
        self._max_bytes = max_bytes
        self._by_wtxid: OrderedDict[bytes, Transaction] = OrderedDict()
        self._by_raw: dict[bytes, Transaction] = {}
        self._bytes = 0

    def get(self, wtxid: bytes) -> Transaction | None:
        """The transaction with this wtxid, if it is remembered."""
        return self._by_wtxid.get(wtxid)

    def of_raw(self, raw: bytes) -> Transaction | None:
        """The transaction with exactly these bytes, if it is remembered."""
        return self._by_raw.get(raw)

    def keep(self, transactions: Iterable[Transaction]) -> None:
        """Remember; the oldest are forgotten past the bounds."""
        for transaction in transactions:
            if transaction.wtxid in self._by_wtxid:
                continue
            self._by_wtxid[transaction.wtxid] = transaction
            self._by_raw[transaction.raw] = transaction
            self._bytes += len(transaction.raw)
        while self._bytes > self._max_bytes or len(self._by_wtxid) > self._max_transactions:
            _, oldest = self._by_wtxid.popitem(last=False)
            del self._by_raw[oldest.raw]
            self._bytes -= len(oldest.raw)

    def __len__(self) -> int:
        return len(self._by_wtxid)
