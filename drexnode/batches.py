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
    """Part of what somebody submitted. This node's RPC gets an answer for each in the end, a peer none."""

    source: PeerId | None
    answers: list[Submitted | None]
    fresh: dict[bytes, Transaction] = field(default_factory=dict)  # wtxid -> what is judged here, in order
    unverified: list[Transaction] = field(default_factory=list)  # those of them with signatures to verify
    places: list[tuple[int, bytes]] = field(default_factory=list)  # (place in answers, wtxid in fresh)
    elsewhere: dict[int, Batch] = field(default_factory=dict)  # place -> the batch that judges it
    errors: dict[bytes, DrexError] = field(default_factory=dict)  # wtxid -> why it was refused
    unread: list[DrexError] = field(default_factory=list)  # why others were refused, before they were judged
    malicious: DrexError | None = None  # what no honest node sends
    done: trio.Event = field(default_factory=trio.Event)

    def answer(self, place: int, txid: bytes | None, error: DrexError | None = None) -> None:
        """What is known at once, without a judgement."""
        if error is not None:
            self.unread.append(error)
        if self.source is None:
            self.answers[place] = Submitted(txid, error)

    def unrefused(self) -> list[Transaction]:
        """What is judged here and was not refused so far, in order."""
        if not self.errors:
            return list(self.fresh.values())
        return [transaction for wtxid, transaction in self.fresh.items() if wtxid not in self.errors]


class Judging:
    """Which batch judges which transaction."""

    def __init__(self) -> None:
        self._batches: dict[bytes, Batch] = {}  # by wtxid

    def find(self, wtxid: bytes) -> Transaction | None:
        """The transaction with this wtxid, if it is being judged."""
        batch = self._batches.get(wtxid)
        return None if batch is None else batch.fresh[wtxid]

    async def one_ends(self) -> bool:
        """Wait for the end of a batch under way; False at once when nothing is being judged."""
        if not self._batches:
            return False
        await next(iter(self._batches.values())).done.wait()
        return True

    def claim(self, batch: Batch, place: int, transaction: Transaction) -> bool:
        """True if `batch` is to judge it; else it does already, or another one, whose end who needs an answer
        waits for."""
        wtxid = transaction.wtxid
        judge = self._batches.setdefault(wtxid, batch)
        if judge is batch:
            if batch.source is None:
                batch.places.append((place, wtxid))
            if wtxid in batch.fresh:
                return False
            batch.fresh[wtxid] = transaction
            return True
        if batch.source is None:
            batch.elsewhere[place] = judge
        return False

    def release(self, batch: Batch) -> None:
        """The batch is judged, or was given up."""
        for wtxid in batch.fresh:
            del self._batches[wtxid]
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
