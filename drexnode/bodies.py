"""Transactions that a node has seen lately, beside its pool.

Guarantees: bounded by count and bytes; when half of either is full, what is older than that is forgotten at
once, so that remembering one costs no search for the oldest. A body is found by its wtxid or by its exact
bytes, so that a copy from another peer is not decoded again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ledger.transaction import Transaction
from primitives.limits import BODIES_BYTES, BODIES_KEPT


@dataclass(slots=True)
class _Half:
    """What was seen in one stretch of time."""

    by_wtxid: dict[bytes, Transaction] = field(default_factory=dict)
    by_raw: dict[bytes, Transaction] = field(default_factory=dict)
    size: int = 0


class Bodies:
    """Recently seen transactions, valid or not."""

    def __init__(self, max_transactions: int = BODIES_KEPT, max_bytes: int = BODIES_BYTES) -> None:
        self._half_count = max_transactions // 2
        self._half_bytes = max_bytes // 2
        self._new, self._old = _Half(), _Half()

    def get(self, wtxid: bytes) -> Transaction | None:
        """The transaction with this wtxid, if it is remembered."""
        return self._new.by_wtxid.get(wtxid) or self._old.by_wtxid.get(wtxid)

    def of_raw(self, raw: bytes) -> Transaction | None:
        """The transaction with exactly these bytes, if it is remembered."""
        return self._new.by_raw.get(raw) or self._old.by_raw.get(raw)

    def keep(self, transactions: Iterable[Transaction]) -> None:
        """Remember; the older half is forgotten when the newer one is full."""
        new = self._new
        for transaction in transactions:
            wtxid, raw = transaction.wtxid, transaction.raw
            if wtxid in new.by_wtxid:
                continue
            size = new.size + len(raw)
            if size > self._half_bytes or len(new.by_wtxid) >= self._half_count:
                self._old, new = new, _Half()
                self._new, size = new, len(raw)
            new.by_wtxid[wtxid] = new.by_raw[raw] = transaction
            new.size = size

    def __len__(self) -> int:
        return len(self._new.by_wtxid) + len(self._old.by_wtxid)
