"""Bodies that a block names and this node lacks, asked of the peers that should hold them.

Promises: no more bytes are taken in than a block of this network may hold; each source has its turn and no
longer, whatever it drips; what arrived is kept if the work is abandoned. Who promised a body (it proposed or
PREPAREd the block) and answers without it is charged; who is merely asked, or can't be reached, is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from drexnode.admission import Admission
from drexnode.slicing import breathe, slices_of
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
from ledger.slices import Slices
from ledger.transaction import Transaction, decode_transaction
from p2p.transport import Offence, PeerId, RequestFailed, Transport
from primitives.block import BlockHeader
from primitives.errors import DecodeError, InvalidBlock
from primitives.limits import (
    BODY_FETCH_PASSES,
    BODY_REQUEST_TIMEOUT_MS,
    BODY_SOURCE_TURN_MS,
    DECODE_SLICE,
    KIB,
    MAX_BODIES_A_REQUEST,
    MAX_RESPONSE_BYTES,
    MERKLE_LEAVES_PER_SLICE,
    SYNC_CHUNK_BYTES,
)
from primitives.merkle import join_roots, merkle_root


class Unavailable(Exception):
    """Nobody served what the block needs."""


class BodyFetcher:
    """Asks peers. One trio thread; any number of fetches at once."""

    def __init__(
        self,
        transport: Transport,
        admission: Admission,
        lookup: Callable[[bytes], Transaction | None],
        chain_id: bytes,
    ) -> None:
        """`lookup(wtxid)` answers from what this node holds."""
        self._transport = transport
        self._admission = admission
        self._lookup = lookup
        self._chain_id = chain_id

    async def bodies(
        self, missing: Sequence[bytes], sources: list[PeerId], *, room_bytes: int, are_promised: bool
    ) -> dict[bytes, Transaction]:
        """The bodies with these wtxids from `sources`, which may grow meanwhile.

        Raises `Unavailable`, and `InvalidBlock` (BLOCK_TOO_LARGE) when they exceed `room_bytes`."""
        found: dict[bytes, Transaction] = {}
        for _ in range(BODY_FETCH_PASSES):
            place = 0
            while place < len(sources):
                peer, place = sources[place], place + 1
                with trio.move_on_after(BODY_SOURCE_TURN_MS / 1000):
                    is_short = await self._turn(peer, missing, found, room_bytes)
                    if is_short and are_promised:
                        self._transport.report(peer, Offence.UNSERVED, "bodies of a block it stands for")
                if len(found) == len(missing):
                    return found
            await trio.sleep(BODY_REQUEST_TIMEOUT_MS / 40_000)
        raise Unavailable(f"{len(missing) - len(found)} of {len(missing)} bodies are held by nobody asked")

    async def list_of(
        self, header: BlockHeader, wanted: bytes, sources: Sequence[PeerId]
    ) -> tuple[bytes, ...]:
        """The wtxids that the header of block `wanted` commits to. Raises `Unavailable`."""
        if header.tx_count == 0:
            return ()
        request = encode_message(ProposalRequest(wanted))
        for peer in sources:
            try:
                answer = await self._ask(peer, METHOD_PROPOSAL, request, MAX_RESPONSE_BYTES)
                response = decode_message(answer, ProposalResponse)
            except RequestFailed:
                continue
            except DecodeError as error:
                self._transport.report(peer, Offence.INVALID_MESSAGE, error.code)
                continue
            if await is_list_of(header, response.wtxids):
                return response.wtxids
            self._transport.report(peer, Offence.LIED, "another list than the header's")
        raise Unavailable(f"no peer of {len(sources)} served the list of transactions")

    async def _turn(
        self, peer: PeerId, missing: Sequence[bytes], found: dict[bytes, Transaction], room_bytes: int
    ) -> bool:
        """Ask one peer for what is missing, as long as it brings something. True: it answered, and lacked
        some."""
        while wanted := await self._still_missing(missing, found):
            request = encode_message(BodiesRequest(tuple(wanted[:MAX_BODIES_A_REQUEST])))
            try:
                answer = await self._ask(peer, METHOD_BODIES, request, SYNC_CHUNK_BYTES + KIB)
                served = await self._read(answer, frozenset(wanted))
            except RequestFailed:
                return False
            except DecodeError as error:
                self._transport.report(peer, Offence.INVALID_MESSAGE, error.code)
                return False
            if not served:
                return True
            found |= served
            self._admission.remember(served.values())
            if (size := sum(body.size for body in found.values())) > room_bytes:
                raise InvalidBlock("BLOCK_TOO_LARGE", f"{size} bytes of bodies, room for {room_bytes}")
        return False

    async def _still_missing(self, missing: Sequence[bytes], found: dict[bytes, Transaction]) -> list[bytes]:
        """What is neither found nor came in by itself; the latter is taken over."""
        wanted: list[bytes] = []
        for part in slices_of(missing, MERKLE_LEAVES_PER_SLICE):
            for wtxid in part:
                if wtxid in found:
                    continue
                if (held := self._lookup(wtxid)) is None:
                    wanted.append(wtxid)
                else:
                    found[wtxid] = held
            await trio.lowlevel.checkpoint()
        return wanted

    async def _read(self, answer: bytes, asked: frozenset[bytes]) -> dict[bytes, Transaction]:
        """Those of an answer that were asked for. Raises `DecodeError`."""
        served: dict[bytes, Transaction] = {}
        for part in slices_of(decode_message(answer, BodiesResponse).transactions, DECODE_SLICE):
            for raw in part:
                body = decode_transaction(raw, self._chain_id)
                if body.wtxid in asked:
                    served[body.wtxid] = body
            await trio.lowlevel.checkpoint()
        return served

    async def _ask(self, peer: PeerId, method: str, payload: bytes, max_response_bytes: int) -> bytes:
        return await self._transport.request(
            peer,
            method,
            payload,
            timeout_s=BODY_REQUEST_TIMEOUT_MS / 1000,
            max_response_bytes=max_response_bytes,
        )


async def is_list_of(header: BlockHeader, wtxids: Sequence[bytes]) -> bool:
    """True when the header commits to exactly this list; computed in slices."""
    if header.tx_count != len(wtxids):
        return False
    return await breathe(_root_of(wtxids)) == header.tx_root


def _root_of(wtxids: Sequence[bytes]) -> Slices[bytes]:
    roots: list[bytes] = []
    for start in range(0, len(wtxids), MERKLE_LEAVES_PER_SLICE):
        roots.append(merkle_root(wtxids[start : start + MERKLE_LEAVES_PER_SLICE]))
        yield
    return join_roots(roots)
