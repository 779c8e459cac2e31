"""Evidence between nodes: what one node proves against a validator, all learn, whatever their role.

Promises: nothing is believed: both signatures are verified, and the accused key must have belonged to the
set that is named; a proof is passed on once, to every peer but the one it came from, and offered whole to a
peer that connects, so it reaches who was away; memory, disk and work are bounded for each validator and each
peer. A proof that is false is charged as an invalid message; one that can't be judged here yet is let go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from consensus.evidence import Evidence, decode_evidence, verify_evidence
from drexnode.evidence_store import EvidenceStore
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.telemetry import get_logger
from drexnode.wire import METHOD_EVIDENCE, EvidenceOffer, decode_message, encode_message
from p2p.transport import Offence, PeerId, RequestFailed, RequestRefused, Transport
from primitives.codec import encode
from primitives.errors import DecodeError
from primitives.keys import verify
from primitives.limits import (
    CONSENSUS_FUTURE_HEIGHTS,
    EVIDENCE_IN_OFFER,
    EVIDENCE_QUEUE,
    SYNC_REQUEST_TIMEOUT_MS,
)

_log = get_logger("evidence")


class EvidenceExchange:
    """One for each node. `register` before the network starts, then `run`."""

    def __init__(
        self,
        transport: Transport,
        finalizer: Finalizer,
        store: EvidenceStore,
        metrics: Metrics,
        peers: Callable[[], Iterable[PeerId]],
    ) -> None:
        """`peers` are those connected."""
        self._transport = transport
        self._finalizer = finalizer
        self._store = store
        self._metrics = metrics
        self._peers = peers
        self._came_from: dict[Evidence, PeerId] = {}
        sender, self._admitted = trio.open_memory_channel[Evidence](EVIDENCE_QUEUE)
        self._sender = sender
        store.on_admitted = self._spread

    def register(self) -> None:
        """Take evidence from peers."""
        self._transport.register_handler(METHOD_EVIDENCE, self.take)

    async def run(self) -> None:
        """Pass on what is new until cancelled."""
        async for evidence in self._admitted:
            source = self._came_from.pop(evidence, None)
            async with trio.open_nursery() as nursery:
                for peer in sorted(set(self._peers()) - {source}):
                    nursery.start_soon(self._send, peer, [evidence])

    async def offer(self, peer: PeerId) -> None:
        """Tell a peer that connected all that is kept here."""
        kept = self._store.kept
        for first in range(0, len(kept), EVIDENCE_IN_OFFER):
            if not await self._send(peer, kept[first : first + EVIDENCE_IN_OFFER]):
                return

    async def take(self, peer: PeerId, payload: bytes) -> bytes:
        """Judge what a peer offers. Raises `RequestRefused` for what is no offer."""
        try:
            offer = decode_message(payload, EvidenceOffer)
            offered = [decode_evidence(data) for data in offer.evidence]
        except DecodeError as error:
            self._transport.report(peer, Offence.INVALID_MESSAGE, f"evidence: {error.code}")
            raise RequestRefused(f"not an offer of evidence: {error.message}") from error
        for evidence in offered:
            await trio.lowlevel.checkpoint()
            if self._store.wants(evidence) and self._is_known_set(evidence):
                if not verify_evidence(evidence, self._finalizer.chain_id, verify):
                    self._transport.report(peer, Offence.INVALID_MESSAGE, "evidence that proves nothing")
                    raise RequestRefused("evidence that proves nothing")
                await self._keep(evidence, peer)
        return b""

    async def _keep(self, evidence: Evidence, peer: PeerId) -> None:
        self._came_from[evidence] = peer
        if not self._store.admit(evidence):
            self._came_from.pop(evidence, None)
            return
        self._metrics.equivocations_total.inc()
        _log.error(
            "evidence.learnt",
            validator=evidence.validator.hex(),
            height=evidence.height,
            round=evidence.round,
            step=evidence.step,
            peer=peer,
        )
        await trio.to_thread.run_sync(self._store.write, evidence)

    def _is_known_set(self, evidence: Evidence) -> bool:
        """True when the accused key stood in the named set, as far as this node has the chain."""
        head = self._finalizer.head
        if evidence.height > head.height + CONSENSUS_FUTURE_HEIGHTS:
            return False
        sets = [head.validators]
        if 1 <= evidence.height <= head.height:
            then = self._finalizer.queries.validators_at(evidence.height)
            sets += [] if then is None else [then]
        return any(each.hash == evidence.validators_hash and evidence.validator in each for each in sets)

    def _spread(self, evidence: Evidence) -> None:
        """New in the store, from wherever it came; what overflows is offered when peers connect."""
        try:
            self._sender.send_nowait(evidence)
        except trio.WouldBlock:
            self._came_from.pop(evidence, None)

    async def _send(self, peer: PeerId, evidence: Iterable[Evidence]) -> bool:
        offer = encode_message(EvidenceOffer(tuple(encode(item) for item in evidence)))
        try:
            await self._transport.request(
                peer, METHOD_EVIDENCE, offer,
                timeout_s=SYNC_REQUEST_TIMEOUT_MS / 1000, max_response_bytes=16,
            )  # fmt: skip
        except RequestFailed as error:
            _log.debug("evidence.not_told", peer=peer, reason=str(error))
            return False
        return True
