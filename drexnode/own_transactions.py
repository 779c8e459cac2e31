"""Pending transactions that came through this node's RPC: this node has promised to carry them.

Guarantees: each is in the pool, or leaves here with it; one that waits longer than `RESEND_INTERVAL_MS` is
offered to others again, at most `RESEND_BYTES` at one time, each in its turn. From admission to FINAL is what
`drex_tx_finality_seconds` measures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import trio

from drexnode.metrics import Metrics
from drexnode.tracing import tracer
from ledger.refusals import Rejection
from ledger.transaction import Transaction
from primitives.limits import RESEND_BYTES, RESEND_INTERVAL_MS


@dataclass(slots=True)
class _Own:
    transaction: Transaction
    admitted_s: float
    sent_s: float


class OwnTransactions:
    """In the order in which they were last sent. Bounded by the pool they are in."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = trio.current_time) -> None:
        self._metrics = metrics
        self._clock = clock
        self._pending: OrderedDict[bytes, _Own] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, transactions: Iterable[Transaction]) -> None:
        """They entered the pool and are sent now."""
        now_s = self._clock()
        for transaction in transactions:
            self._pending[transaction.txid] = _Own(transaction, now_s, now_s)

    def final(self, transactions: Sequence[Transaction]) -> None:
        """These are final: observe how long it took."""
        if not self._pending:
            return
        now_s, traces = self._clock(), tracer()
        for transaction in transactions:
            own = self._pending.pop(transaction.txid, None)
            if own is not None:
                self._metrics.tx_finality_seconds.observe(now_s - own.admitted_s)
                if traces is not None:
                    traces.final(transaction.txid, now_s - own.admitted_s)

    def refused(self, rejections: Iterable[Rejection]) -> None:
        """These left the pool."""
        for rejection in rejections:
            self._pending.pop(rejection.txid, None)

    def due(self) -> list[Transaction]:
        """Those to offer again now; each call takes on from where the last one ended."""
        now_s = self._clock()
        due: list[Transaction] = []
        size = 0
        while self._pending:
            txid, own = next(iter(self._pending.items()))
            size += len(own.transaction.raw)
            if own.sent_s + RESEND_INTERVAL_MS / 1000 > now_s or size > RESEND_BYTES:
                break
            own.sent_s = now_s
            self._pending.move_to_end(txid)
            due.append(own.transaction)
        return due
