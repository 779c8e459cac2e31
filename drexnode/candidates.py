"""Blocks under discussion: their bodies fetched, their execution checked, and the decided one made final.

Promises: a block is reported OK only when every body is held, every signature verified and the execution
gives exactly its header; a block found OK stays held until its height is decided; missing bodies are asked of
the peers that claim to hold them (body_fetch.py). Nothing here votes: see `consensus`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from consensus import effects as fx
from consensus.inputs import Outcome, Verdict
from drexnode.admission import Admission
from drexnode.body_fetch import BodyFetcher, Unavailable, is_list_of
from drexnode.executor import Executor
from drexnode.finalizer import Finalizer
from drexnode.slicing import slices_of
from drexnode.telemetry import get_logger
from ledger.block import Block, FinalizedBlock
from ledger.execute import ExecutedBlock
from ledger.transaction import Transaction, decode_transaction
from p2p.transport import PeerId, Transport
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.errors import (
    DecodeError,
    InvalidBlock,
    InvalidTransaction,
    InvariantViolation,
    StorageFailure,
)
from primitives.limits import (
    BODY_REQUEST_TIMEOUT_MS,
    CANDIDATE_BLOCKS,
    CANDIDATE_SOURCES,
    MERKLE_LEAVES_PER_SLICE,
)

_log = get_logger("candidates")

BLOCK_FROM_THE_PAST = "BLOCK_FROM_THE_PAST"


class Candidates:
    """The blocks of the height being decided. One trio thread."""

    def __init__(
        self,
        *,
        transport: Transport,
        admission: Admission,
        executor: Executor,
        finalizer: Finalizer,
        now_ms: Callable[[], int],
        holders: Callable[[], Sequence[PeerId]],
    ) -> None:
        """`holders()` names the peers to ask when a decided block has no known source."""
        self._admission = admission
        self._executor = executor
        self._finalizer = finalizer
        self._now_ms = now_ms
        self._holders = holders
        self._fetcher = BodyFetcher(transport, admission, self.body, finalizer.chain_id)
        self._obtaining = trio.CancelScope()
        self._blocks: dict[bytes, Block] = {}
        # Made durable for a COMMIT: others may need them from here alone.
        self._voted: dict[bytes, Block] = {}
        self._voted_bodies: dict[bytes, Transaction] = {}
        self._sources: dict[int, list[PeerId]] = {}

    def start_height(self, height: int) -> None:
        """Forget everything that is not of `height`; the block before it is final, whoever was faster."""
        self._obtaining.cancel()
        self._blocks = {key: block for key, block in self._blocks.items() if block.height >= height}
        self._set_voted({key: block for key, block in self._voted.items() if block.height >= height})
        self._sources.clear()

    def restore(self) -> None:
        """After a restart: the blocks that earlier votes made durable are held again, and served. Their
        signatures were verified before they were stored. Raises `StorageFailure`."""
        queries, chain_id = self._finalizer.queries, self._finalizer.chain_id
        restored = {}
        for height, name in self._finalizer.store.undecided:
            stored = queries.stored_block(height, name)
            if stored is not None:
                try:
                    bodies = tuple(decode_transaction(raw, chain_id) for raw in stored.transactions)
                except DecodeError as error:
                    message = f"a stored body of block {height} {name.hex()} is damaged: {error.message}"
                    raise StorageFailure("STORAGE_CORRUPT", message) from error
                restored[name] = Block(stored.header, bodies)
        self._set_voted(restored)

    def _set_voted(self, blocks: dict[bytes, Block]) -> None:
        self._voted = blocks
        self._voted_bodies = {body.wtxid: body for block in blocks.values() for body in block.transactions}

    def adopt(self, executed: ExecutedBlock) -> None:
        """Take a block this node built: it is held and executed."""
        self._executor.adopt(executed)
        self._keep(executed.block)

    def keep_for_vote(self, header: BlockHeader) -> Block:
        """A block that was found OK, whole, about to be made durable; held until its height is decided.
        Raises `InvariantViolation` when it is not held."""
        block = self.find(block_id(header))
        if block is None:
            raise InvariantViolation("CANDIDATE_LOST", "a block found valid is no longer held")
        if block.block_id not in self._voted:
            self._set_voted({**self._voted, block.block_id: block})
        return block

    def find(self, wanted: bytes) -> Block | None:
        """The block with this id, if its bodies are held: what peers may ask for."""
        return self._voted.get(wanted) or self._blocks.get(wanted)

    def body(self, wtxid: bytes) -> Transaction | None:
        """A transaction with this wtxid: pending, seen lately, or in a block that this node voted for."""
        return self._admission.lookup(wtxid) or self._voted_bodies.get(wtxid)

    def add_source(self, ref: int, peer: PeerId) -> None:
        """`peer` holds the bodies of the block under validation `ref`."""
        sources = self._sources.get(ref)
        if sources is not None and peer not in sources and len(sources) < CANDIDATE_SOURCES:
            sources.append(peer)

    async def check(self, effect: fx.ValidateProposal) -> Verdict:
        """The verdict on a proposed block (consensus/effects.py, `ValidateProposal`)."""
        header = effect.header
        if effect.fresh and (wait := self._check_clock(effect.ref, header)) is not None:
            return wait
        sources = [PeerId(peer) for peer in effect.sources]
        self._sources = {effect.ref: sources}
        try:
            block = self.find(block_id(header))
            if block is None:
                block = await self._assemble(header, effect.wtxids, sources, are_promised=True)
            elif tuple(block.wtxids) != effect.wtxids:
                return Verdict(effect.ref, Outcome.WRONG_LIST, "BLOCK_TX_ROOT")
            await self._executor.execute(block)
        except Unavailable as error:
            return Verdict(effect.ref, Outcome.UNAVAILABLE, str(error))
        except (InvalidTransaction, InvalidBlock) as error:
            if error.code == "BLOCK_TX_ROOT" or not await is_list_of(header, effect.wtxids):
                return Verdict(effect.ref, Outcome.WRONG_LIST, error.code)
            _log.warning("candidates.invalid_block", height=header.height, error=str(error))
            return Verdict(effect.ref, Outcome.INVALID, error.code)
        self._keep(block)
        return Verdict(effect.ref, Outcome.OK)

    async def prepare_ahead(self, header: BlockHeader) -> None:
        """Do what a block found OK will need once it is decided."""
        executed = self._executor.find(block_id(header))
        if executed is not None:
            await self._finalizer.prepare_ahead(executed)

    async def fetch(self, effect: fx.FetchBlock) -> tuple[bytes, ...] | None:
        """The wtxids of a block prepared earlier, its bodies at hand; None when nobody has it."""
        sources = [PeerId(peer) for peer in effect.sources]
        try:
            block = await self._obtain(effect.header, None, sources)
        except (Unavailable, InvalidTransaction, InvalidBlock) as error:
            _log.info("candidates.fetch_failed", height=effect.header.height, error=str(error))
            return None
        self._keep(block)
        return tuple(block.wtxids)

    async def finalize(
        self, header: BlockHeader, wtxids: Sequence[bytes], certificate: CommitCertificate
    ) -> None:
        """Store a decided block, whatever it takes to get its bodies, unless a sync was faster.

        Raises `InvariantViolation` when a certified block does not execute: this node's rules differ from a
        quorum's."""
        while self._finalizer.head.height < header.height:
            made = None
            with trio.CancelScope() as self._obtaining:
                made = await self._try_to_obtain(header, wtxids)
                if made is None:
                    await trio.sleep(BODY_REQUEST_TIMEOUT_MS / 4000)
                    continue
            if made is not None:
                await self._finalizer.finalize(FinalizedBlock(made.block, certificate), made)

    async def _try_to_obtain(self, header: BlockHeader, wtxids: Sequence[bytes]) -> ExecutedBlock | None:
        """A decided block, executed; None when nobody served it now, or it is final already."""
        try:
            return await self._executor.execute(await self._obtain(header, wtxids, list(self._holders())))
        except Unavailable as error:
            _log.warning("candidates.decided_block_missing", height=header.height, error=str(error))
        except (InvalidBlock, InvalidTransaction) as error:
            if error.code != "BLOCK_SUPERSEDED":
                raise InvariantViolation(
                    "CERTIFIED_BLOCK_INVALID", f"block {header.height} is certified, but: {error}"
                ) from error
        return None

    def _check_clock(self, ref: int, header: BlockHeader) -> Verdict | None:
        skew = self._finalizer.genesis.parameters.max_clock_skew_ms
        ahead = header.timestamp_ms - self._now_ms()
        if ahead > skew:
            return Verdict(ref, Outcome.LATER, "BLOCK_FROM_THE_FUTURE", ahead - skew)
        if ahead < -skew:
            return Verdict(ref, Outcome.INVALID, BLOCK_FROM_THE_PAST)
        return None

    async def _obtain(
        self, header: BlockHeader, wtxids: Sequence[bytes] | None, sources: list[PeerId]
    ) -> Block:
        """The block, from what is held or from `sources`, who need not hold it.

        Raises `Unavailable`, `InvalidTransaction`, `InvalidBlock`."""
        wanted = block_id(header)
        if (held := self.find(wanted)) is not None:
            return held
        if wtxids is None or not await is_list_of(header, wtxids):
            wtxids = await self._fetcher.list_of(header, wanted, sources)
        return await self._assemble(header, wtxids, sources, are_promised=False)

    async def _assemble(
        self, header: BlockHeader, wtxids: Sequence[bytes], sources: list[PeerId], *, are_promised: bool
    ) -> Block:
        """Bodies from the pool, and the missing ones from `sources` (which may grow meanwhile)."""
        limits = self._finalizer.genesis.parameters.limits
        if len(wtxids) > limits.max_transactions:
            raise InvalidBlock("BLOCK_TOO_LARGE", f"{len(wtxids)} transactions", height=header.height)
        found, missing = await self._held_of(wtxids)
        if missing:
            if not await is_list_of(header, wtxids):
                raise InvalidBlock("BLOCK_TX_ROOT", "the list is not the header's", height=header.height)
            room_bytes = limits.max_bytes - sum(body.size for body in found.values())
            found |= await self._fetcher.bodies(
                missing, sources, room_bytes=room_bytes, are_promised=are_promised
            )
        transactions = [found[wtxid] for wtxid in wtxids]
        await self._admission.verify_bodies(transactions)
        return Block(header, tuple(transactions))

    async def _held_of(self, wtxids: Sequence[bytes]) -> tuple[dict[bytes, Transaction], list[bytes]]:
        """The bodies that are here, and the wtxids of those that are not."""
        found: dict[bytes, Transaction] = {}
        missing: list[bytes] = []
        for part in slices_of(wtxids, MERKLE_LEAVES_PER_SLICE):
            for wtxid in part:
                if (body := self.body(wtxid)) is None:
                    missing.append(wtxid)
                else:
                    found[wtxid] = body
            await trio.lowlevel.checkpoint()
        return found, missing

    def _keep(self, block: Block) -> None:
        if block.block_id in self._blocks:
            return
        while len(self._blocks) >= CANDIDATE_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[block.block_id] = block
