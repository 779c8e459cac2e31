"""Pending transactions that came through this node's RPC: this node has promised to carry them.

Guarantees: each is in the pool, or leaves here with it; one that waits longer than `RESEND_INTERVAL_MS` is
offered to others again, at most `RESEND_BYTES` at one time, each in its turn. From admission to FINAL is what
`drex_tx_finality_seconds` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import trio

from drexnode.metrics import Metrics
from drexnode.tracing import tracer
from ledger.refusals import Rejection
from ledger.transaction import Transaction
from primitives.limits import RESEND_BYTES, RESEND_INTERVAL_MS


class OwnTransactions:
    """In the order in which they were last sent. Bounded by the pool they are in."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = trio.current_time) -> None:
        self._metrics = metrics
        self._clock = clock
        self._pending: dict[bytes, tuple[Transaction, float, float]] = {}  # with when admitted, when sent

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, transactions: Iterable[Transaction]) -> None:
        """They entered the pool and are sent now."""
        now_s = self._clock()
        for transaction in transactions:
            self._pending[transaction.txid] = (transaction, now_s, now_s)

    def final(self, transactions: Sequence[Transaction]) -> None:
        """These are final: observe how long it took."""
        if not self._pending:
            return
        now_s, traces = self._clock(), tracer()
        for transaction in transactions:
            own = self._pending.pop(transaction.txid, None)
            if own is not None:
                _, admitted_s, _ = own
                self._metrics.tx_finality_seconds.observe(now_s - admitted_s)
                if traces is not None:
                    traces.final(transaction.txid, now_s - admitted_s)

    def refused(self, rejections: Iterable[Rejection]) -> None:
        """These left the pool."""
        for rejection in rejections:
            self._pending.pop(rejection.txid, None)

    def due(self) -> list[Transaction]:
        """Those to offer again now; each call takes on from where the last one ended."""
        now_s = self._clock()
        due: list[tuple[Transaction, float]] = []
        size = 0
        for transaction, admitted_s, sent_s in self._pending.values():
            size += len(transaction.raw)
            if sent_s + RESEND_INTERVAL_MS / 1000 > now_s or size > RESEND_BYTES:
                break
            due.append((transaction, admitted_s))
        for transaction, admitted_s in due:
            del self._pending[transaction.txid]
            self._pending[transaction.txid] = (transaction, admitted_s, now_s)
        return [transaction for transaction, _ in due]
