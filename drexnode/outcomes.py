"""Who waits for the outcome of a transaction, and how they learn of it.

Guarantees: a waiter is woken by the event itself (a final block, a refusal), with the outcome; one that gives
up leaves nothing behind. A final block costs one look-up per transaction, and nothing when nobody waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from drexnode.rpc.chain_values import TransactionState
from ledger.block import FinalizedBlock
from ledger.refusals import Rejection
from primitives.block import block_id
from primitives.errors import DrexError, StorageFailure
from primitives.limits import MAX_WAITERS
from storage.queries import ChainQueries


@dataclass(slots=True, eq=False)
class _Waiting:
    """All who wait for one transaction."""

    tasks: int = 0
    outcome: TransactionState | None = None
    decided: trio.Event = field(default_factory=trio.Event)


class Outcomes:
    """The waiters of one node. Belongs to one trio thread."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def refused(self, rejections: Iterable[Rejection]) -> None:
        """Wake who waits for transactions that were refused."""
        if self._waiting:
            for rejection in rejections:
                if rejection.txid in self._waiting:
                    self._wake(refused_state(rejection))

    def final(self, block: FinalizedBlock) -> None:
        """Wake who waits for transactions of a block that just became final."""
        if not self._waiting:
            return
        height, name, round_ = block.height, block.block.block_id, block.certificate.round
        for index, transaction in enumerate(block.block.transactions):
            if transaction.txid in self._waiting:
                self._wake(TransactionState(transaction.txid, "FINAL", height, index, name, round_))

    async def wait(self, txid: bytes, timeout_ms: int) -> TransactionState | None:
        """Wait for the next outcome of `txid`; None when the time is over. Raises `DrexError` (NODE_BUSY).

        The caller looks first, with no checkpoint in between, or it may miss the event."""
        waiting = self._waiting.get(txid)
        if waiting is None:
            if len(self._waiting) >= MAX_WAITERS:
                raise DrexError("NODE_BUSY", f"{MAX_WAITERS} transactions are waited for already")
            waiting = self._waiting[txid] = _Waiting()
        waiting.tasks += 1
        try:
            with trio.move_on_after(timeout_ms / 1000):
                await waiting.decided.wait()
        finally:
            waiting.tasks -= 1
            if not waiting.tasks and self._waiting.get(txid) is waiting:
                del self._waiting[txid]
        return waiting.outcome

    def _wake(self, outcome: TransactionState) -> None:
        waiting = self._waiting.pop(outcome.txid)
        waiting.outcome = outcome
        waiting.decided.set()


def refused_state(rejection: Rejection) -> TransactionState:
    """The state of a transaction that this node refused and has not seen succeed."""
    return TransactionState(rejection.txid, "REJECTED", code=rejection.code, reason=rejection.message)


def final_state(queries: ChainQueries, txid: bytes) -> TransactionState | None:
    """The state of a final transaction, from the store; None when it is not final."""
    location = queries.location(txid)
    if location is None:
        return None
    height, index = location
    header, certificate = queries.header(height), queries.certificate(height)
    if header is None or certificate is None:
        raise StorageFailure("STORAGE_CORRUPT", f"block {height} holds a transaction, but is not whole")
    return TransactionState(txid, "FINAL", height, index, block_id(header), certificate.round)
