"""Transactions that came before the one they build on: kept for seconds, bounded, given back when it arrives.

Gossip keeps no order between batches. An orphan is not pending: nothing here was checked against the state.
"""

from __future__ import annotations

from collections.abc import Iterable

from ledger.transaction import Transaction
from primitives.limits import MAX_ORPHAN_BYTES, MAX_ORPHANS, ORPHAN_MEMORY_MS


class Orphans:
    """Waiting transactions by the txid they wait for. The oldest go first when there is no room."""

    def __init__(
        self,
        max_count: int = MAX_ORPHANS,
        max_bytes: int = MAX_ORPHAN_BYTES,
        memory_ms: int = ORPHAN_MEMORY_MS,
    ) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._memory_ms = memory_ms
        self._size_bytes = 0
        self._waiting: dict[bytes, tuple[Transaction, bytes, int]] = {}  # wtxid -> it, parent, since
        self._by_parent: dict[bytes, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, transaction: Transaction, parent: bytes, now_ms: int) -> None:
        """Keep `transaction`, which spends an output of the unknown transaction `parent`."""
        self._drop(transaction.wtxid)
        self._waiting[transaction.wtxid] = (transaction, parent, now_ms)
        self._by_parent.setdefault(parent, set()).add(transaction.wtxid)
        self._size_bytes += transaction.size
        while len(self._waiting) > self._max_count or self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._waiting)))

    def take(self, arrived: Iterable[bytes]) -> list[Transaction]:
        """Give back, ascending by wtxid for each parent, what waited for the txids that `arrived`."""
        taken: list[Transaction] = []
        for parent in arrived:
            for wtxid in sorted(self._by_parent.get(parent, ())):
                taken.append(self._waiting[wtxid][0])
                self._drop(wtxid)
        return taken

    def forget(self, now_ms: int) -> list[Transaction]:
        """Drop and return what has waited too long: its parent is unknown to this node."""
        dropped: list[Transaction] = []
        while self._waiting:
            transaction, _, since_ms = next(iter(self._waiting.values()))
            if since_ms + self._memory_ms > now_ms:
                break
            dropped.append(transaction)
            self._drop(transaction.wtxid)
        return dropped

    def _drop(self, wtxid: bytes) -> None:
        found = self._waiting.pop(wtxid, None)
        if found is None:
            return
        transaction, parent, _ = found
        self._size_bytes -= transaction.size
        siblings = self._by_parent[parent]
        siblings.discard(wtxid)
        if not siblings:
            del self._by_parent[parent]
