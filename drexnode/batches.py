"""Transactions that arrive together, while they are judged (drexnode/admission.py).

Guarantees: one transaction is judged by one batch at a time, whoever else brings it meanwhile; batches of one
peer are judged side by side and enter the pool one after the other, so that parents come before children.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from drexnode.rpc.chain_values import Submitted
from ledger.transaction import Transaction
from p2p.transport import PeerId
from primitives.errors import DrexError


@dataclass(slots=True, eq=False)
class Batch:
    """Part of what somebody submitted, with an answer for each in the end."""

    source: PeerId | None
    answers: list[Submitted | None]
    fresh: dict[bytes, Transaction] = field(default_factory=dict)  # wtxid -> what is judged here, in order
    places: list[tuple[int, bytes]] = field(default_factory=list)  # (place in answers, wtxid in fresh)
    elsewhere: dict[int, trio.Event] = field(default_factory=dict)  # place -> end of the batch that judges it
    errors: dict[bytes, DrexError] = field(default_factory=dict)  # wtxid -> why it was refused
    malicious: DrexError | None = None  # what no honest node sends
    done: trio.Event = field(default_factory=trio.Event)

    def unrefused(self) -> list[Transaction]:
        """What is judged here and was not refused so far, in order."""
        if not self.errors:
            return list(self.fresh.values())
        return [transaction for wtxid, transaction in self.fresh.items() if wtxid not in self.errors]


class Judging:
    """Which batch judges which transaction."""

    def __init__(self) -> None:
        self._ends: dict[bytes, trio.Event] = {}  # wtxid -> end of its batch

    def claim(self, batch: Batch, place: int, transaction: Transaction) -> bool:
        """True if `batch` is to judge it; else another one does, and who needs an answer waits for that."""
        wtxid = transaction.wtxid
        end = self._ends.setdefault(wtxid, batch.done)
        if end is batch.done:
            batch.fresh[wtxid] = transaction
            batch.places.append((place, wtxid))
            return True
        if batch.source is None:
            batch.elsewhere[place] = end
        else:
            batch.answers[place] = Submitted(transaction.txid)  # a peer needs no answer
        return False

    def release(self, batch: Batch) -> None:
        """The batch is judged, or was given up."""
        for wtxid in batch.fresh:
            del self._ends[wtxid]
        batch.done.set()


class Rows:
    """One row for each peer that has batches under way."""

    def __init__(self) -> None:
        self._ends: dict[PeerId, trio.Event] = {}  # end of the last one in the row

    @asynccontextmanager
    async def stand(self, peer: PeerId | None) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Stand in the peer's row (RPC: in none); what is yielded waits for all who stood there before."""
        if peer is None:
            yield trio.lowlevel.checkpoint
            return
        before, end = self._ends.get(peer), trio.Event()
        self._ends[peer] = end
        try:
            yield trio.lowlevel.checkpoint if before is None else before.wait
        finally:
            end.set()
            if self._ends.get(peer) is end:
                del self._ends[peer]
