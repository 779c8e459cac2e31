"""The way into the pool and out of it: what enters was checked against the tip and what it builds on.

Guarantees: every entry passed the ledger's rules on the tip at the time it came in, after its unconfirmed
parents; entries that wait for long are checked again, so that a pool that is not empty means work. Signatures
and shape are checked before (`drexnode/admission.py`). Lists go in whole: the caller cuts them into slices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from drexnode.finalizer import Finalizer, Head
from ledger import codes
from ledger.block import FinalizedBlock
from ledger.execute import ExecutionContext, check_candidate
from ledger.mempool import Mempool, NewEntry
from ledger.plain_transfer import plain_share
from ledger.quota import charged_to
from ledger.refusals import Rejection
from ledger.slices import Slices
from ledger.state import StateView
from ledger.transaction import OutPoint, Output, Transaction
from primitives.errors import InvalidTransaction
from primitives.limits import PLAIN_CHECKS_A_VIEW, RECHECK_BATCH


@dataclass(slots=True)
class Entered:
    """What became of a list: new entries, the refused with their error, and who had to make room."""

    added: list[Transaction] = field(default_factory=list)
    refused: list[tuple[bytes, InvalidTransaction]] = field(default_factory=list)  # by wtxid
    evicted: list[Rejection] = field(default_factory=list)


class PoolGate:
    """One pool and the chain it is measured against."""

    def __init__(self, pool: Mempool, finalizer: Finalizer, now_ms: Callable[[], int]) -> None:
        self.pool = pool
        self._finalizer = finalizer
        self._now_ms = now_ms
        self._leaving: set[bytes] = set()  # txids that are final, and in the pool until `leave` is through
        self._final: deque[FinalizedBlock] = deque()
        self._tip: tuple[Head, StateView] | None = None  # what plain transfers are looked up in
        self._plain_checks = 0

    def is_pending(self, txid: bytes) -> bool:
        """True while it waits for a block."""
        return txid in self.pool and txid not in self._leaving

    def has_work(self) -> bool:
        """True when something waits for a block."""
        return len(self.pool) > len(self._leaving)

    def candidates(self) -> Iterator[Transaction]:
        """What waits for the next block, parents first, the room shared fairly."""
        for transaction in self.pool.candidates(self._finalizer.head.height + 1):
            if transaction.txid not in self._leaving:
                yield transaction

    def enter(self, transactions: Iterable[Transaction], *, explains: bool = False) -> Entered:
        """Check and take in, in order; a known txid is left as it is. The event loop is held as long as
        `transactions` gives more. `explains` finds out who spent an input that is gone."""
        entered = Entered()
        height, now_ms = self._finalizer.head.height, self._now_ms()
        report = self.pool.add(self._checked(transactions, entered, explains), now_ms, height)
        entered.added = report.added
        entered.evicted = report.evicted
        entered.refused += [(item.wtxid, _error(item)) for item in report.refused]
        return entered

    def refuse(self, transaction: Transaction, error: InvalidTransaction) -> list[Rejection]:
        """It leaves the pool with all that builds on it. The refusal is remembered in any case."""
        if transaction.txid in self._leaving:  # a judgement from before it became final
            return []
        return self.pool.refuse(transaction, error.code, error.message, self._now_ms())

    def begin_leaving(self, block: FinalizedBlock) -> None:
        """The head's transactions are final: none counts as pending from now on; `leave` takes them out."""
        if self.pool or len(self.pool.refusals):
            txids = [transaction.txid for transaction in block.block.transactions]
            self._leaving.update(txid for txid in txids if txid in self.pool)
            self._final.append(block)

    def next_leaving(self) -> FinalizedBlock | None:
        """The oldest final block that still has to `leave`, or None."""
        return self._final.popleft() if self._final else None

    def leave(self, block: FinalizedBlock) -> Slices[list[Rejection]]:
        """Take a final block's transactions out, and what conflicts with them or can enter no later block:
        the latter is returned."""
        transactions = block.block.transactions
        rejections = yield from self.pool.finalise(transactions, block.height, self._now_ms())
        self._leaving.difference_update(transaction.txid for transaction in transactions)
        return rejections

    def due(self) -> list[Transaction]:
        """Some of the entries that have waited for long; they count as checked from now on."""
        return self.pool.due_for_check(self._finalizer.head.height, RECHECK_BATCH) if self.pool else []

    def recheck(self, transactions: Sequence[Transaction]) -> list[Rejection]:
        """Check a slice of entries again; returns what left for it."""
        rejections: list[Rejection] = []
        context, time_ms = self._finalizer.context(), self._time()
        for transaction in transactions:
            if transaction.txid in self.pool:  # it may have left meanwhile
                error = self._problem(transaction, context, time_ms)
                if error is not None:
                    rejections += self.refuse(transaction, error)
        return rejections

    def _checked(
        self, transactions: Iterable[Transaction], entered: Entered, explains: bool
    ) -> Iterator[NewEntry]:
        """Lazily, so that each is checked when those before it are in the pool."""
        context, state = self._finalizer.context(explains=explains), self._finalizer.state
        time_ms, height = self._time(), context.parent.height + 1
        view = self._view_of_tip()
        for transaction in transactions:
            self._plain_checks += 1
            share = plain_share(view, transaction, height)
            if share is not None:  # all its inputs are in the state: it builds on nothing that is pending
                yield NewEntry(transaction, share)
                continue
            if transaction.txid in self.pool:
                continue
            error = self._problem(transaction, context, time_ms)
            if error is None:
                yield NewEntry(transaction, charged_to(state, transaction, self._find_unconfirmed))
            else:
                entered.refused.append((transaction.wtxid, error))

    def _view_of_tip(self) -> StateView:
        """A view of the tip that nothing is written to, and what plain transfers found out about it."""
        head = self._finalizer.head
        if self._tip is None or self._tip[0] is not head or self._plain_checks >= PLAIN_CHECKS_A_VIEW:
            self._tip, self._plain_checks = (head, StateView(self._finalizer.state)), 0
        return self._tip[1]

    def _problem(
        self, transaction: Transaction, context: ExecutionContext, time_ms: int
    ) -> InvalidTransaction | None:
        ancestors = self.pool.ancestors(transaction)
        if ancestors is None:
            return InvalidTransaction(codes.QUOTA, "it builds on too many transactions that are pending")
        if self._leaving:
            ancestors = [parent for parent in ancestors if parent.txid not in self._leaving]
        try:
            check_candidate(self._finalizer.state, context, time_ms, ancestors, transaction)
        except InvalidTransaction as error:
            return error
        return None

    def _time(self) -> int:
        """The time a block built now would have."""
        return max(self._now_ms(), self._finalizer.head.header.timestamp_ms + 1)

    def _find_unconfirmed(self, outpoint: OutPoint) -> Output | None:
        parent = self.pool.get(outpoint.txid)
        if parent is None or outpoint.index >= len(parent.body.outputs):
            return None
        return parent.body.outputs[outpoint.index]


def _error(rejection: Rejection) -> InvalidTransaction:
    return InvalidTransaction(rejection.code, rejection.message)
