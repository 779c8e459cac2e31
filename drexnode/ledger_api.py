"""What wallets ask of the ledger, answered by a node (`drexnode.rpc.ledger_api.LedgerReads`).

Guarantees: each answer is of one final block; a simulation or proof that a block overtakes begins again.
Signatures are verified on a thread; the event loop applies one transaction, or proves one page, at
a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from drexnode.finalizer import Finalizer
from drexnode.ledger_reads import freeze_infos, try_apply, try_read, wallet_info
from drexnode.proofs import lock_of_output, prove_in_slices
from drexnode.rpc.ledger_api import FreezeInfo, Simulated, WalletInfo
from drexnode.slicing import breathe
from ledger.mempool import Mempool
from ledger.proof import Proof, Question
from ledger.state import FREEZE, PARTICIPANT, StateView
from ledger.transaction import OutPoint, Transaction
from ledger.votes import PendingVote, pending_votes
from primitives.errors import DrexError
from primitives.limits import PROOF_ATTEMPTS, REGISTRY_ROWS, SIMULATION_ATTEMPTS


class LedgerApi:
    """The ledger's part of `NodeApi`."""

    def __init__(self, finalizer: Finalizer, pool: Mempool, now_ms: Callable[[], int]) -> None:
        self._ledger_of = finalizer
        self._pending = pool
        self._clock_ms = now_ms

    async def simulate(self, transactions: Sequence[bytes], *, together: bool) -> list[Simulated]:
        """See `NodeApi`. Raises `DrexError` (NODE_BUSY)."""
        height, chain_id = self._ledger_of.head.height + 1, self._ledger_of.chain_id
        read = [await trio.to_thread.run_sync(try_read, raw, chain_id, height) for raw in transactions]
        for _ in range(SIMULATION_ATTEMPTS):
            answers = await self._try(read, together)
            if answers is not None:
                return answers
        raise DrexError("NODE_BUSY", "blocks come faster than this can be looked at; try again")

    async def wallet(self, lock: bytes) -> WalletInfo:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        chain = self._ledger_of
        rows = chain.queries.state_entries(PARTICIPANT, REGISTRY_ROWS)
        ispbs = [key[len(PARTICIPANT) :].decode() for key, _ in rows]
        return wallet_info(chain.state, chain.head.height, ispbs, lock)

    async def frozen(self, lock: bytes) -> list[FreezeInfo]:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return freeze_infos(self._ledger_of.queries.state_entries(FREEZE + lock, REGISTRY_ROWS))

    async def prove(self, question: Question) -> Proof:
        """See `NodeApi`. Raises `DrexError` (NODE_BUSY)."""
        chain = self._ledger_of
        for _ in range(PROOF_ATTEMPTS):
            await trio.lowlevel.checkpoint()
            head = chain.head
            proof = await breathe(prove_in_slices(chain, question), lambda: chain.head is head)  # noqa: B023
            if proof is not None:
                return proof
        raise DrexError("NODE_BUSY", "blocks come faster than this can be proven; try again")

    async def lock_of_output(self, outpoint: OutPoint) -> bytes:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return lock_of_output(self._ledger_of, outpoint)

    async def pending_votes(self) -> list[PendingVote]:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return pending_votes(self._ledger_of.state)

    async def _try(self, read: Sequence[Transaction | Simulated], together: bool) -> list[Simulated] | None:
        """None as soon as a new block overtakes it: a view that has read two heights adds up nothing."""
        chain, head, answers = self._ledger_of, self._ledger_of.head, list[Simulated]()
        context = chain.context(explains=True).at(max(self._clock_ms(), chain.head.header.timestamp_ms + 1))
        view, applied = StateView(chain.state), set[bytes]()
        for item in read:
            await trio.lowlevel.checkpoint()
            if chain.head is not head:
                return None
            if isinstance(item, Simulated):
                answers.append(item)
            else:
                if not together:
                    view, applied = StateView(chain.state), set()
                parents = [parent for parent in self._parents(item) if parent.txid not in applied]
                answers.append(try_apply(view, item, context, parents))
                applied |= {item.txid, *(parent.txid for parent in parents)}
            if together and answers[-1].error is not None:
                break
        return answers

    def _parents(self, transaction: Transaction) -> list[Transaction]:
        ancestors = self._pending.ancestors(transaction) or []
        height_of = self._ledger_of.queries.transaction_height  # what is final leaves the pool a little later
        return [parent for parent in ancestors if height_of(parent.txid) is None]
