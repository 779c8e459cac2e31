"""Blocks, headers, certificates and validator sets, as the RPC asks for them (`drexnode.rpc.api.NodeApi`).

Guarantees: answers are of the committed chain alone; long ones are read in slices. A body that was pruned is
refused as BLOCK_PRUNED, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from drexnode.finalizer import Finalizer
from drexnode.rpc.chain_values import StoredBlock, Tip
from drexnode.slicing import slices_of
from ledger.override import Override
from ledger.transaction import decode_transaction
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.errors import DrexError
from primitives.limits import DECODE_SLICE, HEADERS_SLICE
from primitives.validators import ValidatorSet


class ChainApi:
    """The chain's part of `NodeApi`."""

    def __init__(self, finalizer: Finalizer) -> None:
        self._finalizer = finalizer
        self._queries = finalizer.queries

    def tip(self) -> Tip:
        """See `NodeApi`."""
        head = self._finalizer.head
        header, certificate = head.header, head.certificate
        round_ = None if certificate is None else certificate.round
        return Tip(head.height, head.block_id, header.timestamp_ms, header.state_root, round_)

    async def wait_height(self, height: int) -> Tip:
        """See `NodeApi`."""
        await self._finalizer.wait_height(height)
        return self.tip()

    async def block_by_height(self, height: int, *, full: bool) -> StoredBlock | None:
        """See `NodeApi`. Raises `DrexError` (BLOCK_PRUNED)."""
        await trio.lowlevel.checkpoint()
        stored = self._queries.block(height)
        if stored is None:
            return None
        txids = await self._txids(stored.transactions)
        return StoredBlock(
            header=stored.header,
            block_id=block_id(stored.header),
            certificate=self._queries.certificate(height),
            txids=txids,
            transactions=stored.transactions if full else (),
        )

    async def block_by_id(self, block_id: bytes, *, full: bool) -> StoredBlock | None:
        """See `NodeApi`. Raises `DrexError` (BLOCK_PRUNED)."""
        height = self._queries.height_of(block_id)
        return None if height is None else await self.block_by_height(height, full=full)

    async def headers(self, first: int, last: int) -> list[BlockHeader]:
        """See `NodeApi`."""
        found: list[BlockHeader] = []
        last = min(last, self._finalizer.head.height)
        for start in range(first, last + 1, HEADERS_SLICE):
            await trio.lowlevel.checkpoint()
            found += self._queries.headers(start, min(start + HEADERS_SLICE - 1, last))
        return found

    async def certificate(self, height: int) -> CommitCertificate | None:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return self._queries.certificate(height)

    async def validators_at(self, height: int) -> ValidatorSet | None:
        """See `NodeApi`. Raises `DrexError` (VALIDATORS_NOT_KEPT) where the chain was begun by a program that
        did not store sets."""
        await trio.lowlevel.checkpoint()
        head = self._finalizer.head
        if not 0 <= height <= head.height + 1:
            return None
        if height == head.height + 1:
            return head.validators
        validators = self._queries.validators_at(height)
        if validators is None:
            message = f"the validator set of height {height} was not kept here"
            raise DrexError("VALIDATORS_NOT_KEPT", message, height=height)
        return validators

    def overrides(self) -> tuple[Override, ...]:
        """See `NodeApi`."""
        return tuple(self._finalizer.overrides)

    async def _txids(self, raws: Sequence[bytes]) -> tuple[bytes, ...]:
        txids: list[bytes] = []
        for part in slices_of(raws, DECODE_SLICE):
            await trio.lowlevel.checkpoint()
            txids += [decode_transaction(raw, self._finalizer.chain_id).txid for raw in part]
        return tuple(txids)
