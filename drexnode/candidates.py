"""Blocks under discussion: their bodies fetched, their execution checked, and the decided one made final.

Promises: a block is reported OK only when every body is held, every signature verified and the execution
gives exactly its header; missing bodies are asked of the peers that claim to hold them, bounded by the block;
whoever serves nothing is charged. Nothing here votes: see `consensus`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from consensus import effects as fx
from consensus.inputs import Outcome, Verdict
from drexnode.admission import Admission
from drexnode.executor import Executor
from drexnode.finalizer import Finalizer
from drexnode.telemetry import get_logger
from drexnode.wire import (
    METHOD_BODIES,
    METHOD_PROPOSAL,
    BodiesRequest,
    BodiesResponse,
    ProposalRequest,
    ProposalResponse,
    decode_message,
    encode_message,
)
from ledger.block import Block, FinalizedBlock
from ledger.execute import ExecutedBlock
from ledger.transaction import Transaction, decode_transaction
from p2p.transport import Offence, PeerId, RequestFailed, Transport
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.errors import DecodeError, InvalidBlock, InvalidTransaction, InvariantViolation
from primitives.limits import (
    BODY_FETCH_PASSES,
    BODY_REQUEST_TIMEOUT_MS,
    CANDIDATE_BLOCKS,
    CANDIDATE_SOURCES,
    MAX_BODIES_A_REQUEST,
    MAX_RESPONSE_BYTES,
)
from primitives.merkle import merkle_root

_log = get_logger("candidates")


class Unavailable(Exception):
    """Nobody served what the block needs."""


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
        self._transport = transport
        self._admission = admission
        self._executor = executor
        self._finalizer = finalizer
        self._now_ms = now_ms
        self._holders = holders
        self._blocks: dict[bytes, Block] = {}
        self._voted: dict[
            bytes, Block
        ] = {}  # made durable for a COMMIT: others may need them from here alone
        self._voted_bodies: dict[bytes, Transaction] = {}
        self._sources: dict[int, list[PeerId]] = {}

    def start_height(self, height: int) -> None:
        """Forget everything that is not of `height`."""
        self._blocks = {key: block for key, block in self._blocks.items() if block.height >= height}
        self._set_voted({key: block for key, block in self._voted.items() if block.height >= height})
        self._sources.clear()

    def restore(self) -> None:
        """After a restart: the blocks that earlier votes made durable are held again, and served."""
        queries, chain_id = self._finalizer.queries, self._finalizer.chain_id
        restored = {}
        for height, name in self._finalizer.store.undecided:
            stored = queries.stored_block(height, name)
            if stored is not None:
                bodies = tuple(decode_transaction(raw, chain_id) for raw in stored.transactions)
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
            block = await self._assemble(header, effect.wtxids, sources)
            await self._executor.execute(block)
        except Unavailable as error:
            return Verdict(effect.ref, Outcome.UNAVAILABLE, str(error))
        except InvalidTransaction as error:
            return Verdict(effect.ref, Outcome.INVALID, error.code)
        except InvalidBlock as error:
            wrong_list = error.code == "BLOCK_TX_ROOT"
            if not wrong_list:
                _log.warning("candidates.invalid_block", height=header.height, error=str(error))
            return Verdict(effect.ref, Outcome.WRONG_LIST if wrong_list else Outcome.INVALID, error.code)
        self._keep(block)
        return Verdict(effect.ref, Outcome.OK)

    async def fetch(self, effect: fx.FetchBlock) -> tuple[bytes, ...] | None:
        """The wtxids of a block prepared earlier, its bodies at hand; None when nobody has it."""
        sources = [PeerId(peer) for peer in effect.sources]
        try:
            block = await self._obtain(effect.header, None, sources)
        except (Unavailable, InvalidTransaction) as error:
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
            try:
                block = await self._obtain(header, wtxids, list(self._holders()))
                executed = await self._executor.execute(block)
            except Unavailable as error:
                _log.warning("candidates.decided_block_missing", height=header.height, error=str(error))
                await trio.sleep(BODY_REQUEST_TIMEOUT_MS / 4000)
                continue
            except (InvalidBlock, InvalidTransaction) as error:
                if error.code == "BLOCK_SUPERSEDED":
                    continue
                raise InvariantViolation(
                    "CERTIFIED_BLOCK_INVALID", f"block {header.height} is certified, but: {error}"
                ) from error
            await self._finalizer.finalize(FinalizedBlock(block, certificate), executed)

    def _check_clock(self, ref: int, header: BlockHeader) -> Verdict | None:
        skew = self._finalizer.genesis.parameters.max_clock_skew_ms
        ahead = header.timestamp_ms - self._now_ms()
        if ahead > skew:
            return Verdict(ref, Outcome.LATER, "BLOCK_FROM_THE_FUTURE", ahead - skew)
        if ahead < -skew:
            return Verdict(ref, Outcome.INVALID, "BLOCK_FROM_THE_PAST")
        return None

    async def _obtain(
        self, header: BlockHeader, wtxids: Sequence[bytes] | None, sources: list[PeerId]
    ) -> Block:
        """The block, from what is held or from `sources`. Raises `Unavailable`, `InvalidTransaction`."""
        wanted = block_id(header)
        if (held := self.find(wanted)) is not None:
            return held
        if wtxids is None or not _is_list_of(header, wtxids):
            wtxids = await self._ask_for_list(header, wanted, sources)
        return await self._assemble(header, wtxids, sources)

    async def _ask_for_list(
        self, header: BlockHeader, wanted: bytes, sources: Sequence[PeerId]
    ) -> tuple[bytes, ...]:
        if header.tx_count == 0:
            return ()
        request = encode_message(ProposalRequest(wanted))
        for peer in sources:
            try:
                answer = await self._ask(peer, METHOD_PROPOSAL, request)
                response = decode_message(answer, ProposalResponse)
            except RequestFailed:
                continue
            except DecodeError as error:
                self._transport.report(peer, Offence.INVALID_MESSAGE, error.code)
                continue
            if _is_list_of(header, response.wtxids):
                return response.wtxids
            self._transport.report(peer, Offence.LIED, "another list than the header's")
        raise Unavailable(f"no peer of {len(sources)} served the list of transactions")

    async def _assemble(self, header: BlockHeader, wtxids: Sequence[bytes], sources: list[PeerId]) -> Block:
        """Bodies from the pool, and the missing ones from `sources` (which may grow meanwhile)."""
        lookup = self.body
        found = {wtxid: body for wtxid in wtxids if (body := lookup(wtxid)) is not None}
        missing = [wtxid for wtxid in wtxids if wtxid not in found]
        if missing:
            if not _is_list_of(header, wtxids):
                raise InvalidBlock("BLOCK_TX_ROOT", "the list is not the header's", height=header.height)
            found |= await self._fetch_bodies(missing, sources)
        transactions = [found[wtxid] for wtxid in wtxids]
        await self._admission.verify_bodies(transactions)
        return Block(header, tuple(transactions))

    async def _fetch_bodies(
        self, missing: Sequence[bytes], sources: list[PeerId]
    ) -> dict[bytes, Transaction]:
        found: dict[bytes, Transaction] = {}
        for _ in range(BODY_FETCH_PASSES):
            place = 0
            while place < len(sources):
                peer, place = sources[place], place + 1
                if not await self._fetch_from(peer, missing, found):
                    self._transport.report(peer, Offence.UNSERVED, "bodies of a block it stands for")
                if len(found) == len(missing):
                    self._admission.remember(list(found.values()))
                    return found
            await trio.sleep(BODY_REQUEST_TIMEOUT_MS / 40_000)
        raise Unavailable(f"{len(missing) - len(found)} of {len(missing)} bodies are held by nobody asked")

    async def _fetch_from(
        self, peer: PeerId, missing: Sequence[bytes], found: dict[bytes, Transaction]
    ) -> bool:
        """Ask one peer for what is missing, as long as it answers with something; False: it lacks some."""
        while wanted := [wtxid for wtxid in missing if wtxid not in found][:MAX_BODIES_A_REQUEST]:
            for wtxid in wanted:
                if (held := self.body(wtxid)) is not None:
                    found[wtxid] = held
            wanted = [wtxid for wtxid in wanted if wtxid not in found]
            if not wanted:
                continue
            try:
                answer = await self._ask(peer, METHOD_BODIES, encode_message(BodiesRequest(tuple(wanted))))
                raws = decode_message(answer, BodiesResponse).transactions
                bodies = [decode_transaction(raw, self._finalizer.chain_id) for raw in raws]
            except RequestFailed:
                return False
            except DecodeError as error:
                self._transport.report(peer, Offence.INVALID_MESSAGE, error.code)
                return False
            asked = frozenset(wanted)
            served = {body.wtxid: body for body in bodies if body.wtxid in asked}
            if not served:
                return False
            found |= served
        return True

    async def _ask(self, peer: PeerId, method: str, payload: bytes) -> bytes:
        return await self._transport.request(
            peer,
            method,
            payload,
            timeout_s=BODY_REQUEST_TIMEOUT_MS / 1000,
            max_response_bytes=MAX_RESPONSE_BYTES,
        )

    def _keep(self, block: Block) -> None:
        while len(self._blocks) >= CANDIDATE_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[block.block_id] = block


def _is_list_of(header: BlockHeader, wtxids: Sequence[bytes]) -> bool:
    return header.tx_count == len(wtxids) and header.tx_root == merkle_root(wtxids)
