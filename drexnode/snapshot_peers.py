"""What peers hold of snapshots, by their own word, and how it is asked of them (drexnode/snapshot_fetch.py).

Promise: an answer has the length that was asked for, or is an error that charges its peer; nothing of it is
believed here.
"""

from __future__ import annotations

import trio

from drexnode.snapshot_wire import (
    METHOD_SNAPSHOTS,
    SnapshotOffer,
    SnapshotPart,
    SnapshotPartRequest,
    SnapshotsRequest,
    SnapshotsResponse,
    decode_snapshot_message,
)
from p2p.transport import Offence, PeerId, RequestCode, RequestFailed, Transport
from primitives.codec import Record, encode
from primitives.errors import DecodeError, DrexError
from primitives.limits import (
    MAX_RESPONSE_BYTES,
    SNAPSHOT_OFFER_WAIT_MS,
    SNAPSHOT_PART_BYTES,
    SYNC_REQUEST_TIMEOUT_MS,
)


class SnapshotPeers:
    """The connected peers and their offers."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.offers: dict[PeerId, tuple[SnapshotOffer, ...]] = {}

    async def ask_all(self) -> None:
        """Ask every connected peer that has offered nothing yet; at most `SNAPSHOT_OFFER_WAIT_MS`."""
        connected = {peer.peer_id for peer in self.transport.peers()}
        for gone in self.offers.keys() - connected:
            del self.offers[gone]
        with trio.move_on_after(SNAPSHOT_OFFER_WAIT_MS / 1000):
            async with trio.open_nursery() as nursery:
                for peer in sorted(connected):
                    if not self.offers.get(peer):
                        nursery.start_soon(self._ask_offers, peer)

    async def _ask_offers(self, peer: PeerId) -> None:
        try:
            answer = await self._ask(peer, METHOD_SNAPSHOTS, SnapshotsRequest(1))
            self.offers[peer] = decode_snapshot_message(answer, SnapshotsResponse).offers
        except RequestFailed:
            self.offers.pop(peer, None)
        except DecodeError as error:
            self.transport.report(peer, Offence.INVALID_MESSAGE, f"snapshots: {error.message}")

    def holders(self, offer: SnapshotOffer) -> list[PeerId]:
        """Who offers the same chunks, as far as their word goes; the manifest's own holders first."""
        exact = [peer for peer, offers in self.offers.items() if offer in offers]
        same = [
            peer
            for peer, offers in self.offers.items()
            if peer not in exact and any(other.content == offer.content for other in offers)
        ]
        return [*sorted(exact), *sorted(same)]

    async def whole(self, peer: PeerId, method: str, digest: bytes, size: int) -> bytes:
        """All parts of what a digest names, of one peer. Raises `RequestFailed`, `DecodeError`."""
        data = bytearray()
        while len(data) < size:
            answer = await self._ask(peer, method, SnapshotPartRequest(digest, len(data)))
            part = decode_snapshot_message(answer, SnapshotPart).data
            if len(part) != min(SNAPSHOT_PART_BYTES, size - len(data)):
                raise DecodeError("a part has another length than asked for", code="WIRE_COUNT")
            data += part
        return bytes(data)

    async def _ask(self, peer: PeerId, method: str, message: Record) -> bytes:
        return await self.transport.request(
            peer,
            method,
            encode(message),
            timeout_s=SYNC_REQUEST_TIMEOUT_MS / 1000,
            max_response_bytes=MAX_RESPONSE_BYTES,
        )

    def charge(self, peer: PeerId, error: DrexError, *, is_own_word: bool) -> None:
        """Points for an answer that did not come or can't be read; who offered another owes nothing."""
        if isinstance(error, DecodeError):
            self.transport.report(peer, Offence.INVALID_MESSAGE, f"snapshot: {error.message}")
        elif is_own_word and error.code not in (
            RequestCode.BUSY,
            RequestCode.NOT_CONNECTED,
            RequestCode.DISCONNECTED,
        ):
            self.transport.report(peer, Offence.UNSERVED, f"snapshot: {error.code}")
