"""Answers what peers ask: final blocks and headers, bodies by wtxid, what a proposal consists of, the status.

Promises: an answer holds only what this node has checked itself; it is bounded by the request and by
`SYNC_CHUNK_BYTES` (one body more), and read in slices that let the event loop breathe. A request that does
not decode, names another chain or asks for what is not held is refused with a sentence, never by an exception
of another kind. How often a peer may ask is the transport's business. docs/sync.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import trio

from drexnode.finalizer import Finalizer
from drexnode.recent_blocks import RecentBlocks
from drexnode.wire import (
    METHOD_BLOCKS,
    METHOD_BODIES,
    METHOD_HEADERS,
    METHOD_PROPOSAL,
    METHOD_STATUS,
    BlockPart,
    BlocksRequest,
    BlocksResponse,
    BodiesRequest,
    BodiesResponse,
    HeadAnnouncement,
    HeadersRequest,
    HeadersResponse,
    ProposalRequest,
    ProposalResponse,
    Status,
    decode_message,
    encode_message,
)
from ledger.block import Block
from ledger.transaction import Transaction
from p2p.transport import PeerId, RequestRefused, Transport
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.codec import Record
from primitives.errors import DecodeError
from primitives.limits import (
    BODIES_PER_CHUNK,
    SERVED_BODIES_PER_SLICE,
    SERVED_ROWS_PER_SLICE,
    SYNC_CHUNK_BYTES,
)
from storage.queries import QueryError

FindBody = Callable[[bytes], Transaction | None]
"""A pending or lately seen transaction by its wtxid."""
FindBlock = Callable[[bytes], Block | None]
"""A block under discussion by its id, all its bodies held."""
ExchangeStatus = Callable[[PeerId, Status], Status]
"""Takes note of a peer's status and gives the own one."""

HEADER_BYTES = 320  # of an encoded header with its lengths, at most
SEAL_BYTES = 72
BODY_BYTES = 5  # beside the body itself

M = TypeVar("M", bound=Record)


class BlockServer:
    """The handlers of one node. `register` before the network starts."""

    def __init__(
        self,
        finalizer: Finalizer,
        recent: RecentBlocks,
        *,
        find_body: FindBody,
        find_block: FindBlock,
        exchange_status: ExchangeStatus,
    ) -> None:
        self._finalizer = finalizer
        self._queries = finalizer.queries
        self._recent = recent
        self._find_body = find_body
        self._find_block = find_block
        self._exchange_status = exchange_status

    def register(self, transport: Transport) -> None:
        """Offer all methods to peers."""
        transport.register_handler(METHOD_STATUS, self.status)
        transport.register_handler(METHOD_BLOCKS, self.blocks)
        transport.register_handler(METHOD_HEADERS, self.headers)
        transport.register_handler(METHOD_BODIES, self.bodies)
        transport.register_handler(METHOD_PROPOSAL, self.proposal)

    # --- handlers

    async def status(self, peer: PeerId, payload: bytes) -> bytes:
        """`Status` for `Status`. Refused to a node of another chain."""
        theirs = _read(payload, Status)
        if theirs.chain_id != self._finalizer.chain_id:
            raise RequestRefused(f"this is the chain {self._finalizer.chain_id.hex()}")
        return encode_message(self._exchange_status(peer, theirs))

    async def blocks(self, peer: PeerId, payload: bytes) -> bytes:
        """Final blocks in order, the last one cut where the answer is full; empty above the head, and for the
        genesis block, which has no certificate: everyone makes it from the genesis document."""
        request = _read(payload, BlocksRequest)
        room = min(request.max_bytes, SYNC_CHUNK_BYTES)
        last = min(request.first_height + request.count - 1, self._finalizer.head.height)
        parts: list[BlockPart] = []
        first_index = request.first_index
        for height in range(request.first_height, last + 1):
            part = await self._part(height, first_index, room, is_first=not parts)
            if part is None:
                break
            parts.append(part)
            room -= _part_bytes(part)
            if part.next_index < part.header.tx_count:
                break
            first_index = 0
        return encode_message(BlocksResponse(tuple(parts)))

    async def headers(self, peer: PeerId, payload: bytes) -> bytes:
        """Headers with their certificates, as many as fit."""
        request = _read(payload, HeadersRequest)
        room = SYNC_CHUNK_BYTES
        last = min(request.first_height + request.count - 1, self._finalizer.head.height)
        found: list[HeadAnnouncement] = []
        for height in range(request.first_height, last + 1):
            header, certificate = self._queries.header(height), self._queries.certificate(height)
            if header is None:
                break
            room -= _head_bytes(certificate)
            if room < 0:
                break
            found.append(HeadAnnouncement(header, certificate))
            if len(found) % SERVED_ROWS_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
        return encode_message(HeadersResponse(tuple(found)))

    async def bodies(self, peer: PeerId, payload: bytes) -> bytes:
        """The transactions that the pool, the proposals or the last final blocks hold, as many as fit."""
        request = _read(payload, BodiesRequest)
        room = SYNC_CHUNK_BYTES
        found: list[bytes] = []
        for place, wtxid in enumerate(request.wtxids, 1):
            if place % SERVED_BODIES_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()
            pending = self._find_body(wtxid)
            raw = self._recent.body(wtxid) if pending is None else pending.raw
            if raw is None:
                continue
            room -= len(raw) + BODY_BYTES
            if room < 0 and found:
                break
            found.append(raw)
        return encode_message(BodiesResponse(tuple(found)))

    async def proposal(self, peer: PeerId, payload: bytes) -> bytes:
        """Header and wtxids of a block under discussion or final. Refused if it is not held."""
        wanted = _read(payload, ProposalRequest).block_id
        content = self._content_of(wanted)
        if content is None:
            raise RequestRefused(f"no block {wanted.hex()} here")
        return encode_message(content)

    # --- reading

    async def _part(self, height: int, first_index: int, room: int, *, is_first: bool) -> BlockPart | None:
        """What fits of the block at `height` into `room` bytes; None when nothing does, or it isn't held.

        The first part of an answer always brings something, so that no block is too large to be served."""
        recent = self._recent.at(height)
        if recent is not None:
            header, certificate = recent.header, recent.certificate
        else:
            stored_header, stored_certificate = (
                self._queries.header(height),
                self._queries.certificate(height),
            )
            if stored_header is None or stored_certificate is None:
                return None
            header, certificate = stored_header, stored_certificate
        bag = _Bag(room - _head_bytes(certificate), takes_one=is_first)
        if bag.is_full:
            return None
        if recent is not None:
            bag.fill(recent.raws[first_index:])
        else:
            await self._fill_from_store(bag, header, first_index)
        if not bag.items and header.tx_count:
            return None
        return BlockPart(header, certificate, first_index, tuple(bag.items))

    async def _fill_from_store(self, bag: _Bag, header: BlockHeader, first_index: int) -> None:
        chunk, skipped = divmod(first_index, BODIES_PER_CHUNK)
        name, rows = block_id(header), 0
        while not bag.is_full and chunk * BODIES_PER_CHUNK < header.tx_count:
            try:
                found = self._queries.bodies(header.height, name, chunk)
            except QueryError as error:
                raise RequestRefused(error.message) from error
            if not found:
                return
            bag.fill(found[skipped:])
            chunk, skipped, rows = chunk + 1, 0, rows + 1
            if rows % SERVED_ROWS_PER_SLICE == 0:
                await trio.lowlevel.checkpoint()

    def _content_of(self, wanted: bytes) -> ProposalResponse | None:
        """Header and wtxids of a block by its id: under discussion, recent, or stored."""
        block = self._find_block(wanted) or self._recent.with_id(wanted)
        if block is not None:
            return ProposalResponse(block.header, tuple(block.wtxids))
        height = self._queries.height_of(wanted)
        if height is None:
            return None
        try:
            stored = self._queries.block(height)
        except QueryError as error:
            raise RequestRefused(error.message) from error
        return None if stored is None else ProposalResponse(stored.header, stored.wtxids)


class _Bag:
    """Encoded transactions up to so many bytes; if it `takes_one`, the first one whatever its size."""

    def __init__(self, room: int, *, takes_one: bool) -> None:
        self.items: list[bytes] = []
        self._room = room
        self._takes_one = takes_one

    @property
    def is_full(self) -> bool:
        return self._room < 0 and not (self._takes_one and not self.items)

    def fill(self, raws: Iterable[bytes]) -> None:
        """Take in order until one does not fit; then nothing more is taken."""
        for raw in raws:
            self._room -= len(raw) + BODY_BYTES
            if self.is_full:
                return
            self.items.append(raw)


def _head_bytes(certificate: CommitCertificate | None) -> int:
    return HEADER_BYTES + (SEAL_BYTES * len(certificate.seals) if certificate is not None else 0)


def _part_bytes(part: BlockPart) -> int:
    return _head_bytes(part.certificate) + sum(len(raw) + BODY_BYTES for raw in part.transactions)


def _read(payload: bytes, request_type: type[M]) -> M:
    try:
        return decode_message(payload, request_type)
    except DecodeError as error:
        raise RequestRefused(f"not a request of this kind: {error.message}") from error
