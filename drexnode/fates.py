"""What became of transactions: refusals this node remembers, and who waits for an outcome.

Guarantees: a refusal is kept for `REFUSAL_KEPT_MS` and no longer, at most `REFUSALS_KEPT` of them, and only
until the transaction is pending or final after all; whoever waits is woken by the event itself, with the
outcome; a waiter that gives up leaves nothing behind. A final block costs one look-up per transaction.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from drexnode.rpc.api import TransactionState
from ledger.block import FinalizedBlock
from primitives.errors import DrexError
from primitives.limits import MAX_WAITERS, REFUSAL_KEPT_MS, REFUSALS_KEPT


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a transaction was refused; `until_s` on the node's steady clock."""

    code: str
    reason: str
    until_s: float


@dataclass(slots=True, eq=False)
class _Waiting:
    """All who wait for one transaction."""

    tasks: int = 0
    outcome: TransactionState | None = None
    decided: trio.Event = field(default_factory=trio.Event)


class Fates:
    """One node's memory of outcomes. Belongs to one trio thread."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._refusals: OrderedDict[bytes, Refused] = OrderedDict()
        self._waiting: dict[bytes, _Waiting] = {}

    def refuse(self, txid: bytes, error: DrexError) -> None:
        """Remember a refusal and wake who waits for it."""
        until_s = self._clock() + REFUSAL_KEPT_MS / 1000
        self._refusals.pop(txid, None)
        self._refusals[txid] = Refused(error.code, error.message, until_s)
        if len(self._refusals) > REFUSALS_KEPT:
            self._refusals.popitem(last=False)
        if txid in self._waiting:
            self._wake(TransactionState(txid, "REJECTED", code=error.code, reason=error.message))

    def forgive(self, txids: Sequence[bytes]) -> None:
        """Forget refusals: these transactions are pending now."""
        if self._refusals:
            for txid in txids:
                self._refusals.pop(txid, None)

    def refusal(self, txid: bytes) -> Refused | None:
        """The refusal remembered of a transaction that is neither pending nor final."""
        refused = self._refusals.get(txid)
        if refused is not None and refused.until_s <= self._clock():
            del self._refusals[txid]
            return None
        return refused

    def settle(self, block: FinalizedBlock) -> None:
        """Wake who waits for a transaction of a block that just became final."""
        if not self._waiting and not self._refusals:
            return
        for index, transaction in enumerate(block.block.transactions):
            txid = transaction.txid
            self._refusals.pop(txid, None)
            if txid in self._waiting:
                self._wake(
                    TransactionState(
                        txid,
                        "FINAL",
                        height=block.block.height,
                        index=index,
                        block_id=block.block.block_id,
                        round=block.certificate.round,
                    )
                )

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
