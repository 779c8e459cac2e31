"""Every transaction's way in: bytes → decoded → shape → signatures → pool → others.

Guarantees: nothing malformed, wrongly signed or against the rules at the tip reaches the pool; signatures are
verified once, however often their transaction comes, alone or in a block; the transactions of one batch, and
the batches of one peer, enter in order; each one that the RPC submits has one answer; a refusal changes
nothing. The event loop is held for a slice and no longer. docs/node.md, "Transactions between nodes".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol

import trio

from drexnode.batches import Batch, Judging, Rows
from drexnode.bodies import Bodies
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.outcomes import Outcomes, final_state, refused_state
from drexnode.own_transactions import OwnTransactions
from drexnode.pool_gate import PoolGate
from drexnode.rpc.chain_values import Submitted, TransactionState
from drexnode.signatures import Signatures
from drexnode.slicing import Breaths, breathe, slices_of
from drexnode.verifier import Verifier
from drexnode.wire import Role
from ledger.block import FinalizedBlock
from ledger.checks import TransactionLimits, check_stateless
from ledger.execute import ExecutedBlock, Refusal
from ledger.mempool import Mempool
from ledger.parameters import BlockLimits
from ledger.refusals import Rejection
from ledger.transaction import Transaction, decode_transaction
from p2p.transport import Offence, PeerId
from primitives.errors import DecodeError, DrexError, InvalidTransaction
from primitives.limits import (
    ADMIT_PART,
    ADMIT_SLICE,
    DECODE_PART,
    MAX_SIGNATURES,
    MAX_TRANSACTION_BYTES,
)


class Spread(Protocol):
    """`Dissemination.spread`."""

    def __call__(self, transactions: Sequence[Transaction], *, source: PeerId | None) -> None: ...


Report = Callable[[PeerId, Offence, str], None]
"""`Transport.report`."""


class Admission:
    """The node's mempool and all that guards it. One trio thread; `run` beside it."""

    def __init__(
        self,
        *,
        role: Role,
        pool: Mempool,
        finalizer: Finalizer,
        verifier: Verifier,
        spread: Spread,
        report: Report,
        metrics: Metrics,
        now_ms: Callable[[], int],
    ) -> None:
        self.pool = pool
        self.on_executable: Callable[[], None] = lambda: None
        """Called when transactions entered the pool: there is something to propose."""
        self.closed_because: Callable[[], str | None] = lambda: None
        """A sentence while this node may not accept transactions (it is catching up, or halted)."""
        self._role = role
        self._finalizer = finalizer
        self._spread = spread
        self._report = report
        self._metrics = metrics
        self._gate = PoolGate(pool, finalizer, now_ms)
        self._limits = _transaction_limits(finalizer.genesis.parameters.limits)
        self._bodies = Bodies()
        self._signatures = Signatures(verifier, self._bodies, finalizer.right_of_way)
        self._outcomes = Outcomes()
        self._own = OwnTransactions(metrics)
        self._judging = Judging()
        self._rows = Rows()
        self._slice = trio.Lock()
        self._right_of_way = finalizer.right_of_way
        self._final = trio.Event()
        finalizer.on_final(self.on_final)

    # --- in

    async def admit(
        self, raws: Sequence[bytes], *, source: PeerId | None = None, relay: bool = True
    ) -> list[Submitted]:
        """Judge raw `[body, witness]` bytes from this node's RPC (`source` None), with one answer each, in
        order, or from a peer, without answers. What enters the pool is passed on if `relay`.

        A copy of a pending or final transaction is accepted again. A peer is charged for what no honest node
        sends. Raises `DrexError`: NODE_OBSERVER, and to RPC NODE_NOT_READY (a peer's batch is let go)."""
        closed = self._closed()
        if closed is not None:
            if source is None or self._role == "observer":
                raise closed
            return []
        answers: list[Submitted] = []
        async with self._rows.stand(source) as turn:
            for part in slices_of(raws, ADMIT_PART):
                batch = Batch(source, [None] * len(part) if source is None else [])
                answers += await self._judge(batch, part, turn, relay)
        return answers

    async def _judge(
        self, batch: Batch, raws: Sequence[bytes], turn: Callable[[], Awaitable[None]], relay: bool
    ) -> list[Submitted]:
        try:
            await self._read(batch, raws)
            await self._check_signatures(batch)
            await turn()
            await self._enter(batch, relay)
        finally:
            self._judging.release(batch)
        self._conclude(batch)
        for place, judge in batch.elsewhere.items():
            await judge.done.wait()
            batch.answers[place] = (await self.admit([raws[place]], relay=relay))[0]
        return [answer for answer in batch.answers if answer is not None]

    async def _read(self, batch: Batch, raws: Sequence[bytes]) -> None:
        """Decode, and answer what is known or misshapen."""
        breaths = Breaths(list(enumerate(raws)), DECODE_PART)
        while breaths:
            await self._right_of_way.give_way()
            async with self._slice:
                self._read_breath(batch, chain.from_iterable(breaths))

    def _read_breath(self, batch: Batch, raws: Iterable[tuple[int, bytes]]) -> None:
        chain_id, bodies = self._finalizer.chain_id, self._bodies
        pool, refusals = self.pool, self.pool.refusals
        for place, raw in raws:
            try:
                transaction = decode_transaction(raw, chain_id)
            except DecodeError as error:
                batch.malicious = error
                batch.answer(place, None, error)
                continue
            txid, wtxid = transaction.txid, transaction.wtxid
            if txid in pool:
                batch.answer(place, txid)
            elif refusals and (refused := refusals.get(wtxid)) is not None and refused.lasting:
                batch.answer(place, txid, InvalidTransaction(refused.code, refused.message))
            elif self._judging.claim(batch, place, transaction) and not bodies.is_verified(wtxid):
                try:
                    check_stateless(transaction, self._limits)
                    batch.unverified.append(transaction)
                except InvalidTransaction as error:
                    self._refuse_malicious(batch, transaction, error)

    async def _check_signatures(self, batch: Batch) -> None:
        """Those of the whole batch together."""
        if batch.unverified:
            for wtxid, error in (await self._signatures.check(batch.unverified)).items():
                self._refuse_malicious(batch, batch.fresh[wtxid], error)

    async def _enter(self, batch: Batch, relay: bool) -> None:
        """Into the pool, in order, and on to others."""
        added: list[Transaction] = []
        breaths = Breaths(batch.unrefused(), ADMIT_SLICE)
        while breaths:
            await self._right_of_way.give_way()
            async with self._slice:
                added += self._enter_breath(batch, chain.from_iterable(breaths))
        if added and relay:
            self._spread(added, source=batch.source)
        if added:
            self.on_executable()

    def _enter_breath(self, batch: Batch, transactions: Iterable[Transaction]) -> list[Transaction]:
        entered = self._gate.enter(transactions, explains=batch.source is None)
        self._left(entered.evicted)
        for wtxid, error in entered.refused:
            self._refuse(batch, batch.fresh[wtxid], error)
        if batch.source is None:
            self._own.add(entered.added)
        return entered.added

    def _refuse(self, batch: Batch, transaction: Transaction, error: InvalidTransaction) -> None:
        """Refused by the state; unless it is final already, which is what its sender wanted."""
        if self._finalizer.queries.transaction_height(transaction.txid) is not None:
            return
        batch.errors[transaction.wtxid] = error
        if batch.source is None:
            self._outcomes.refused(self._gate.refuse(transaction, error))

    def _refuse_malicious(self, batch: Batch, transaction: Transaction, error: InvalidTransaction) -> None:
        """Refused whatever the state."""
        batch.errors[transaction.wtxid] = error
        batch.malicious = error
        if batch.source is None:
            self._outcomes.refused(self._gate.refuse(transaction, error))

    def _conclude(self, batch: Batch) -> None:
        """Answers of what was judged here, the metric, and the charge to a peer: one for a batch."""
        answers, fresh, errors = batch.answers, batch.fresh, batch.errors
        for place, wtxid in batch.places:
            answers[place] = Submitted(fresh[wtxid].txid, errors.get(wtxid))
        if errors or batch.unread:
            refused = Counter(error.code for error in (*batch.unread, *errors.values()))
            for code, count in refused.items():
                self._metrics.tx_rejected_total.labels(code).inc(count)
        if batch.source is not None and batch.malicious is not None:
            self._report(batch.source, Offence.INVALID_MESSAGE, batch.malicious.code)

    def _closed(self) -> DrexError | None:
        if self._role == "observer":
            return DrexError("NODE_OBSERVER", "an observer accepts no transactions: send it to a full node")
        reason = self.closed_because()
        return None if reason is None else DrexError("NODE_NOT_READY", reason)

    # --- what consensus and catching up need

    def lookup(self, wtxid: bytes) -> Transaction | None:
        """The transaction with this wtxid, from the pool, among those seen lately, or being judged."""
        return self._bodies.get(wtxid) or self.pool.get_by_wtxid(wtxid) or self._judging.find(wtxid)

    def remember(self, transactions: Iterable[Transaction]) -> None:
        """Keep bodies that were fetched for a block; they are not in the pool and need not be valid."""
        self._bodies.keep(transactions, verified=False)

    async def verify_bodies(self, transactions: Sequence[Transaction]) -> None:
        """Check shape and signatures of those not yet checked. Raises `InvalidTransaction`, the first one."""
        unchecked: list[Transaction] = []
        breaths = Breaths(transactions, ADMIT_PART)
        while breaths:
            await trio.lowlevel.checkpoint()
            known = chain.from_iterable(breaths)
            unchecked += [transaction for transaction in known if not self._is_verified(transaction.wtxid)]
        with self._right_of_way.urgent():
            breaths = Breaths(unchecked, DECODE_PART)
            while breaths:
                async with self._slice:
                    for transaction in chain.from_iterable(breaths):
                        check_stateless(transaction, self._limits)
            errors = await self._signatures.check(unchecked, urgent=True)
        for error in errors.values():
            raise error

    def _is_verified(self, wtxid: bytes) -> bool:
        """What the pool holds was verified, however long ago."""
        return self._bodies.is_verified(wtxid) or self.pool.get_by_wtxid(wtxid) is not None

    @property
    def has_work(self) -> bool:
        """True when the pool holds something to propose."""
        return self._gate.has_work()

    async def judged(self) -> bool:
        """Wait until something of what is being judged is in the pool; False at once when that is nothing."""
        return await self._judging.one_ends()

    def candidates(self) -> Iterator[Transaction]:
        """Transactions for the next block, parents first, in fair order."""
        return self._gate.candidates()

    def fills(self, limits: BlockLimits) -> bool:
        """True when the pool holds a full block."""
        return len(self.pool) >= limits.max_transactions or self.pool.size_bytes >= limits.max_bytes

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """The block builder found that the rules refuse these at this height."""
        for transaction, error in refusals:
            self._left(self._gate.refuse(transaction, error))

    # --- out

    def on_final(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        """A block became final: its transactions leave the pool (in slices, by `run`), and all that can no
        longer enter one. From now on none of them counts as pending."""
        self._outcomes.final(block)
        self._gate.begin_leaving(block)
        self._final.set()

    def _left(self, rejections: Sequence[Rejection]) -> None:
        if not rejections:
            return
        self._own.refused(rejections)
        self._outcomes.refused(rejections)
        for code, count in Counter(rejection.code for rejection in rejections).items():
            self._metrics.tx_rejected_total.labels(code).inc(count)

    async def run(self) -> None:
        """Tidy the pool after each final block, until cancelled."""
        while True:
            await self._final.wait()
            self._final = trio.Event()
            while (block := self._gate.next_leaving()) is not None:
                self._left(await breathe(self._gate.leave(block)) or [])
                for transactions in slices_of(block.block.transactions, ADMIT_PART):
                    self._own.final(transactions)
                    await trio.lowlevel.checkpoint()
            while due := self._gate.due():
                for part in slices_of(due, ADMIT_SLICE):
                    async with self._slice:
                        self._left(self._gate.recheck(part))
            if self.has_work:
                self.on_executable()

    def unfinished(self) -> list[Transaction]:
        """Transactions of our own RPC that have waited for long and should be offered to others again."""
        return self._own.due()

    # --- answers

    def state_of(self, txid: bytes) -> TransactionState:
        """Where a transaction stands, as this node knows it."""
        if self._gate.is_pending(txid):
            return TransactionState(txid, "PENDING")
        final = final_state(self._finalizer.queries, txid)
        if final is not None:
            return final
        refused = self.pool.refusals.latest_of(txid)
        return TransactionState(txid, "UNKNOWN") if refused is None else refused_state(refused)

    async def wait_final(self, txid: bytes, timeout_ms: int) -> TransactionState:
        """Return once it is FINAL or REJECTED, or how it stands when the time is over."""
        state = self.state_of(txid)
        if state.status in ("FINAL", "REJECTED"):
            await trio.lowlevel.checkpoint()
            return state
        outcome = await self._outcomes.wait(txid, timeout_ms)
        return self.state_of(txid) if outcome is None else outcome


def _transaction_limits(block: BlockLimits) -> TransactionLimits:
    """What no block of this network could hold is refused at once."""
    return TransactionLimits(
        max_bytes=min(block.max_bytes, MAX_TRANSACTION_BYTES),
        max_signatures=min(block.max_signatures, MAX_SIGNATURES),
    )
