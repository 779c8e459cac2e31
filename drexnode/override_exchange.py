"""Recovery overrides between nodes: those followed here are served, those of peers are learned.

Promises: an override counts only when the genesis's recovery condition has signed it. A node that is still
below the last block decided before the override follows it by itself, for it has nothing to say about it: so
a fresh node follows the chain from genesis to its end. A node that was there keeps what its peers show in
mind and refuses the blocks after it (OVERRIDE_NOT_APPLIED) until its operator has applied the override,
because its own tip and lock are what the override had to respect (docs/consensus.md). Memory is bounded.
"""

from __future__ import annotations

from drexnode.finalizer import Finalizer
from drexnode.range_parts import FetchedBlock
from drexnode.telemetry import get_logger
from drexnode.wire import (
    METHOD_OVERRIDES,
    OverridesRequest,
    OverridesResponse,
    decode_message,
    encode_message,
)
from ledger.override import (
    Override,
    OverrideRefused,
    Overrides,
    check_override,
    decode_override,
    encode_override,
)
from p2p.transport import Offence, PeerId, RequestFailed, RequestRefused, Transport
from primitives.block import BlockHeader
from primitives.errors import DecodeError, DrexError, InvalidBlock
from primitives.keys import verify
from primitives.limits import (
    MAX_OVERRIDES,
    MAX_RESPONSE_BYTES,
    OVERRIDES_RESPONSE_BYTES,
    SYNC_REQUEST_TIMEOUT_MS,
)

_log = get_logger("override")


class OverrideExchange:
    """Serves and learns overrides. One for each node."""

    def __init__(self, transport: Transport, finalizer: Finalizer) -> None:
        self._transport = transport
        self._finalizer = finalizer
        self._unapplied = Overrides()  # true, and for the operator to apply
        self._explained: set[tuple[int, int]] = set()  # height and epoch of what once explained a refusal

    def register(self) -> None:
        """Offer the method to peers."""
        self._transport.register_handler(METHOD_OVERRIDES, self.serve)

    async def serve(self, peer: PeerId, payload: bytes) -> bytes:
        """The overrides followed here from a height on, ascending, as many as fit."""
        try:
            request = decode_message(payload, OverridesRequest)
        except DecodeError as error:
            raise RequestRefused(f"not a request of this kind: {error.message}") from error
        room = OVERRIDES_RESPONSE_BYTES
        found: list[bytes] = []
        for override in self._finalizer.overrides:
            if override.height < request.first_height:
                continue
            data = encode_override(override)
            room -= len(data)
            if found and room < 0:
                break
            found.append(data)
        return encode_message(OverridesResponse(tuple(found)))

    @property
    def unapplied(self) -> Override | None:
        """The override that the operator has to apply before this node can go on; None when there is none."""
        head = self._finalizer.head
        return next((other for other in self._unapplied if other.decided_height == head.height), None)

    def missing(self) -> DrexError | None:
        """Why the blocks after the head are refused here, for readiness; None when they are not."""
        override = self.unapplied
        return None if override is None else _not_applied(override)

    async def ask(self, peer: PeerId) -> None:
        """Learn what `peer` follows. A peer that does not answer is asked again when it matters."""
        first = 0
        while True:
            try:
                answer = await self._transport.request(
                    peer,
                    METHOD_OVERRIDES,
                    encode_message(OverridesRequest(first)),
                    timeout_s=SYNC_REQUEST_TIMEOUT_MS / 1000,
                    max_response_bytes=MAX_RESPONSE_BYTES,
                )
                overrides = decode_message(answer, OverridesResponse).overrides
                learnt = [await self._learn(data) for data in overrides]
            except RequestFailed as error:
                _log.debug("override.request_failed", peer=peer, reason=str(error))
                return
            except (DecodeError, OverrideRefused) as error:
                _log.warning("override.refused", peer=peer, code=error.code, reason=error.message)
                self._transport.report(peer, Offence.INVALID_MESSAGE, f"override: {error.code}")
                return
            if not learnt or learnt[-1].height < first:
                return
            first = learnt[-1].height + 1

    async def explain(self, fetched: FetchedBlock, parent: BlockHeader, error: DrexError) -> DrexError:
        """Why a block that the validators known here did not decide is refused (`SeekOverride`)."""
        await self.ask(fetched.peer)
        override = self._finalizer.overrides.at(self._height_named(fetched, parent))
        if override is not None and self._explains(override, fetched) and self._is_news(override):
            return InvalidBlock("OVERRIDE_LEARNT", "it follows an override", height=fetched.height)
        return self.missing() or error

    def _is_news(self, override: Override) -> bool:
        """True once: a block that is refused again although its override is followed is just false."""
        name = (override.height, override.order.epoch)
        is_news = name not in self._explained
        self._explained.add(name)
        return is_news

    @staticmethod
    def _height_named(fetched: FetchedBlock, parent: BlockHeader) -> int:
        """The height whose override would explain the block: its own for a lock, else its parent's."""
        return (
            fetched.height if fetched.header.validators_hash == parent.next_validators_hash else parent.height
        )

    @staticmethod
    def _explains(override: Override, fetched: FetchedBlock) -> bool:
        if override.height == fetched.height:
            return override.rests_on_lock and override.block_id == fetched.certificate.block_id
        hash_ = override.validators.hash
        return override.block_id == fetched.header.parent_id and hash_ == fetched.header.validators_hash

    async def _learn(self, data: bytes) -> Override:
        """Check and keep one. Raises `DecodeError`, `OverrideRefused`."""
        override = decode_override(data)
        finalizer = self._finalizer
        for known in (finalizer.overrides.at(override.height), self._unapplied.at(override.height)):
            if known is not None and known.order.epoch >= override.order.epoch:
                return override
        check_override(override, finalizer.genesis, finalizer.chain_id, verify)
        if override.decided_height > finalizer.head.height:
            if len(finalizer.overrides) >= MAX_OVERRIDES:
                return override
            if await finalizer.follow_override(override):
                _log.warning("override.followed", height=override.height, epoch=override.order.epoch)
                return override
        if override.decided_height == finalizer.head.height and len(self._unapplied) < MAX_OVERRIDES:
            self._unapplied.add(override)
            error = _not_applied(override)
            _log.error("override.not_applied", code=error.code, height=override.height, reason=error.message)
        return override


def _not_applied(override: Override) -> DrexError:
    message = (
        f"the validators were replaced after block {override.height} by a recovery override that is not "
        "applied here: stop the node and run `drexnode recover apply override.json --home DIR`"
    )
    return InvalidBlock("OVERRIDE_NOT_APPLIED", message, height=override.height, epoch=override.order.epoch)
