"""From fetched blocks to final ones: certificate, transactions, signatures, execution, disk.

Promises: a block costs a signature check of its transactions only after a quorum of this chain's validators
is known to have certified exactly these transactions, so a lying peer wastes next to nothing; every signature
that this node has not verified before is verified; blocks become final in order, each by the `Finalizer`;
while one group is executed the next ones are being verified, `SYNC_GROUPS_AHEAD` at most.

A block that is not what the chain decided is refused and its peer reported. A *certified* block that breaks
a rule, or contradicts a final one, is no peer's fault: more than f validators or this program are wrong, and
the node halts with `InvariantViolation`. docs/sync.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from drexnode.executor import Executor
from drexnode.finalizer import Finalizer
from drexnode.header_chain import ChainMark, HeaderChain
from drexnode.range_parts import FetchedBlock
from drexnode.verifier import Verifier
from ledger.block import Block, FinalizedBlock, tx_root
from ledger.override import Check
from ledger.transaction import Transaction, decode_transaction
from primitives.block import BlockHeader
from primitives.codec import encode
from primitives.errors import DecodeError, DrexError, InvalidBlock, InvalidTransaction, InvariantViolation
from primitives.limits import SYNC_GROUP_TRANSACTIONS, SYNC_GROUPS_AHEAD, TRANSACTIONS_PER_SLICE

Take = Callable[[int], Sequence[FetchedBlock]]
"""Hands out the next blocks, up to so many transactions."""
Refuse = Callable[[FetchedBlock, DrexError], None]
SeekOverride = Callable[[FetchedBlock, BlockHeader, DrexError], Awaitable[DrexError]]
"""Asks the peer of a block that may follow from a recovery override, on top of this header, for the override.
Gives the error that says why the block is refused: the one given, OVERRIDE_LEARNT or OVERRIDE_NOT_APPLIED."""
VerifyBodies = Callable[[Sequence[Transaction]], Awaitable[None]]
"""Verifies the signatures of the transactions not verified before. Raises `InvalidTransaction`."""

# Refusals that a recovery override unknown here would explain.
MAYBE_BY_OVERRIDE = frozenset({"BLOCK_VALIDATORS", "CERTIFICATE_NOT_COMMITS"})


@dataclass(frozen=True, slots=True)
class _Link:
    """A block that continues the chain if its seals, (key, message, signature) each, verify."""

    fetched: FetchedBlock
    before: ChainMark
    seals: list[Check]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A false block, and where the true chain stood before it."""

    fetched: FetchedBlock
    before: ChainMark
    error: DrexError


@dataclass(frozen=True, slots=True)
class _Group:
    """Certified blocks in order, whose signatures are being verified."""

    blocks: Sequence[FinalizedBlock]
    verified: trio.Event = field(default_factory=trio.Event)


class BlockPipeline:
    """Takes fetched blocks whenever `wake` says there may be some, and makes them final."""

    def __init__(
        self,
        finalizer: Finalizer,
        executor: Executor,
        verifier: Verifier,
        verify_bodies: VerifyBodies,
        take: Take,
        refuse: Refuse,
        seek_override: SeekOverride,
    ) -> None:
        head = finalizer.head
        self._finalizer = finalizer
        self._executor = executor
        self._verifier = verifier
        self._verify_bodies = verify_bodies
        self._take = take
        self._refuse = refuse
        self._seek_override = seek_override
        self._chain = HeaderChain(finalizer.chain_id, head.header, head.validators, finalizer.overrides)
        self._fetched = trio.Event()

    def wake(self) -> None:
        """Blocks may be ready."""
        self._fetched.set()

    async def run(self) -> None:
        """Work until cancelled. Raises `InvariantViolation` and `StorageFailure`: then the node stops."""
        groups_in, groups_out = trio.open_memory_channel[_Group](SYNC_GROUPS_AHEAD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._make_groups_final, groups_out)
            while True:
                self._fetched = trio.Event()
                waiting = deque(self._take(SYNC_GROUP_TRANSACTIONS))
                if not waiting:
                    await self._fetched.wait()
                while waiting:
                    await self._learn_validators()
                    blocks = await self._check(waiting)
                    if blocks:
                        group = _Group(blocks)
                        nursery.start_soon(self._verify, group)
                        await groups_in.send(group)

    # --- certified?

    async def _learn_validators(self) -> None:
        """After a change of the validator set, execution alone tells who decides the next height."""
        if not self._chain.next_is_known:
            head = await self._finalizer.wait_height(self._chain.height)
            self._chain.reset(head.header, head.validators)

    async def _check(self, waiting: deque[FetchedBlock]) -> list[FinalizedBlock]:
        """Take from `waiting` what one validator set decides: certified blocks, exactly their transactions.

        At a false block the rest of `waiting` is void: it is fetched again, from others."""
        linked, refusal = self._link(waiting)
        honest, bad_seal = await self._split_at_bad_seal(linked)
        if bad_seal is not None:
            refusal = bad_seal
        elif refusal is not None and refusal.error.code == "BLOCK_PARENT":
            await self._halt_if_certified(refusal.fetched)
        elif refusal is not None and refusal.error.code in MAYBE_BY_OVERRIDE:
            fetched, before = refusal.fetched, refusal.before
            error = await self._seek_override(fetched, before.header, refusal.error)
            refusal = _Refusal(fetched, before, error)
        blocks: list[FinalizedBlock] = []
        for link in honest:
            try:
                blocks.append(await self._open(link.fetched))
            except (DecodeError, InvalidBlock) as error:
                refusal = _Refusal(link.fetched, link.before, error)
                break
        if refusal is not None:
            waiting.clear()
            self._chain.return_to(refusal.before)
            self._refuse(refusal.fetched, refusal.error)
        return blocks

    def _link(self, waiting: deque[FetchedBlock]) -> tuple[list[_Link], _Refusal | None]:
        """Follow the headers as far as their validators are known; seals are still to be verified."""
        links: list[_Link] = []
        while waiting and self._chain.next_is_known:
            fetched, head = waiting.popleft(), self._finalizer.head
            if fetched.height <= head.height:
                continue
            if fetched.height != self._chain.height + 1:  # consensus made blocks final meanwhile
                self._chain.reset(head.header, head.validators)
            before = self._chain.mark()
            try:
                seals = self._chain.link(fetched.header, fetched.certificate)
            except InvalidBlock as error:
                return links, _Refusal(fetched, before, error)
            links.append(_Link(fetched, before, seals))
        return links, None

    async def _split_at_bad_seal(self, links: list[_Link]) -> tuple[list[_Link], _Refusal | None]:
        """The links before the first one whose certificate is false, and that one."""
        answers = iter(await self._verifier.verify([seal for link in links for seal in link.seals]))
        for place, link in enumerate(links):
            are_true = [next(answers) for _ in link.seals]
            if not all(are_true):
                error = InvalidBlock("CERTIFICATE_BAD_SEAL", "a seal is false", height=link.fetched.height)
                return links[:place], _Refusal(link.fetched, link.before, error)
        return links, None

    async def _open(self, fetched: FetchedBlock) -> FinalizedBlock:
        """Decode what a certified header commits to. Raises `DecodeError`, `InvalidBlock`."""
        chain_id, transactions = self._finalizer.chain_id, list[Transaction]()
        for place, raw in enumerate(fetched.transactions, 1):
            transactions.append(decode_transaction(raw, chain_id))
            if place % TRANSACTIONS_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
        block = Block(fetched.header, tuple(transactions))
        if tx_root(transactions) != fetched.header.tx_root:
            raise InvalidBlock("BLOCK_TX_ROOT", "its header commits to others", height=fetched.height)
        return FinalizedBlock(block, fetched.certificate)

    async def _halt_if_certified(self, fetched: FetchedBlock) -> None:
        """A block with another parent than our final one: a lie, unless a quorum signed it."""
        try:
            seals = self._chain.seals(fetched.header, fetched.certificate)
        except InvalidBlock:
            return
        if all(await self._verifier.verify(seals)):
            raise InvariantViolation(
                "CONFLICTING_CERTIFICATES",
                "a certified block contradicts a final one: more than f validators signed both branches",
                height=fetched.height,
                proof=encode([self._chain.header, fetched.header, fetched.certificate]),
            )

    # --- final

    async def _verify(self, group: _Group) -> None:
        transactions = [transaction for block in group.blocks for transaction in block.block.transactions]
        try:
            await self._verify_bodies(transactions)
        except InvalidTransaction as error:
            raise _certified_but_invalid(group.blocks[0], error) from error
        group.verified.set()

    async def _make_groups_final(self, groups: trio.MemoryReceiveChannel[_Group]) -> None:
        async for group in groups:
            await group.verified.wait()
            for block in group.blocks:
                await self._make_final(block)

    async def _make_final(self, block: FinalizedBlock) -> None:
        finalizer = self._finalizer
        if block.height <= finalizer.head.height:
            return
        try:
            executed = await self._executor.execute(block.block)
        except InvalidBlock as error:
            if block.height <= finalizer.head.height:  # consensus was quicker
                return
            raise _certified_but_invalid(block, error) from error
        if block.height > finalizer.head.height:
            await finalizer.finalize(block, executed)


def _certified_but_invalid(block: FinalizedBlock, error: DrexError) -> InvariantViolation:
    message = (
        f"a quorum certified block {block.height} or one soon after it, and this node refuses it: {error}"
    )
    return InvariantViolation("CERTIFIED_BLOCK_INVALID", message, height=block.height, cause=error.code)
