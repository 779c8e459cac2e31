"""Transactions that a node has seen lately, whether they are in its pool or not: one record for each.

Guarantees: bounded by count and bytes; the oldest go first, one for each that comes, so that forgetting them
holds nobody up. A body is found by its wtxid, and so is whether its signatures were verified: never by its
txid, since the same body with another witness is another claim.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ledger.transaction import Transaction
from primitives.limits import BODIES_BYTES, BODIES_KEPT


class Bodies:
    """Recently seen transactions, valid or not."""

    def __init__(self, max_transactions: int = BODIES_KEPT, max_bytes: int = BODIES_BYTES) -> None:
        self._max_transactions = max_transactions
        self._max_bytes = max_bytes
        self._by_wtxid: dict[bytes, Transaction] = {}
        self._row: deque[Transaction] = deque()  # the same, oldest first
        self._unverified: set[bytes] = set()  # those of them that were fetched for a block: few
        self._size = 0

    def get(self, wtxid: bytes) -> Transaction | None:
        """The transaction with this wtxid, if it is remembered."""
        return self._by_wtxid.get(wtxid)

    def is_verified(self, wtxid: bytes) -> bool:
        """True when it is remembered, and its shape and every signature it carries were found good."""
        return wtxid in self._by_wtxid and wtxid not in self._unverified

    def keep(self, transactions: Iterable[Transaction], *, verified: bool) -> None:
        """Remember; the oldest are forgotten when there is no room. What was verified once stays so."""
        known, row = self._by_wtxid, self._row
        for transaction in transactions:
            wtxid = transaction.wtxid
            if wtxid not in known:
                known[wtxid] = transaction
                row.append(transaction)
                self._size += len(transaction.raw)
                if not verified:
                    self._unverified.add(wtxid)
                while len(row) > self._max_transactions or self._size > self._max_bytes:
                    self._forget_oldest()
            elif verified and self._unverified:
                self._unverified.discard(wtxid)

    def _forget_oldest(self) -> None:
        oldest = self._row.popleft()
        del self._by_wtxid[oldest.wtxid]
        self._unverified.discard(oldest.wtxid)
        self._size -= len(oldest.raw)

    def __len__(self) -> int:
        return len(self._row)
