"""Casting this validator's vote on another: the transaction is made, signed and submitted by the node itself.

Promises: the key signs nothing here but a VALIDATOR_VOTE in its own name (the signer checks that again, in
whatever process it is); the vote goes the way of every transaction, and the ledger's rules judge it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from drexnode.finalizer import Finalizer
from drexnode.rpc.chain_values import Submitted
from drexnode.rpc.node_values import CastVote
from drexnode.signer import NodeSigner
from ledger.build import assemble, build_body
from ledger.payloads import Kind, ValidatorVote, VoteOperation
from ledger.transaction import Witness, make_transaction
from primitives.errors import DrexError

VOTE_BLOCKS = 1_000


class VoteDesk:
    """Casts votes with one signer's key."""

    def __init__(
        self,
        signer: NodeSigner | None,
        finalizer: Finalizer,
        submit: Callable[[Sequence[bytes]], Awaitable[list[Submitted]]],
        is_seen: Callable[[bytes], bool],
    ) -> None:
        """`is_seen` says whether the node of a candidate's key is connected and at the tip."""
        self._signer = signer
        self._finalizer = finalizer
        self._submit = submit
        self._is_seen = is_seen

    async def cast(self, subject: bytes, operation: VoteOperation) -> CastVote:
        """Vote, or withdraw the vote, for `VOTE_BLOCKS` blocks from here. Raises `DrexError`:
        NODE_NOT_VALIDATOR, SIGNER_UNREACHABLE, and the ledger's refusal."""
        signer = self._signer
        if signer is None or signer.public_key not in self._finalizer.head.validators:
            message = "only a validator of the present set votes; ask a validator's node"
            raise DrexError("NODE_NOT_VALIDATOR", message)
        expires = self._finalizer.head.height + VOTE_BLOCKS
        chain_id = self._finalizer.chain_id
        vote = ValidatorVote(signer.public_key, subject, operation, expires)
        body = build_body(Kind.VALIDATOR_VOTE, valid_until=expires, payload=vote)
        unsigned = make_transaction(body, Witness((), (), ()), chain_id)
        signature = await trio.to_thread.run_sync(signer.sign_ledger_vote, unsigned.raw)
        transaction = assemble(body, chain_id, [(signer.public_key, signature)])
        [answer] = await self._submit([transaction.raw])
        if answer.error is not None:
            raise answer.error
        warning = None
        if operation is VoteOperation.ADD and not self._is_seen(subject):
            warning = "no node of this key is seen connected and at the tip: once in the set it must vote"
        return CastVote(transaction.txid, signer.public_key, expires, warning)
