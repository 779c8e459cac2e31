"""Who is how far: the tips of all peers, and telling them the own one.

Promises: what a peer says about its height is a hint where to ask, never believed; a new final block is
announced to connected full nodes and observers in the same turn of the event loop in which it became final
(head_pacing.py says who spares it), gossiped among those now and then, and whoever misses both learns it from
the status that neighbours exchange on connection and every few seconds. Nothing here waits for a peer.
docs/sync.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import trio

from drexnode.finalizer import Finalizer
from drexnode.head_pacing import DirectPacer, GossipPacer
from drexnode.telemetry import get_logger
from drexnode.wire import (
    METHOD_STATUS,
    WIRE_VERSION,
    HeadAnnouncement,
    Role,
    Status,
    decode_message,
    encode_message,
)
from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from p2p.transport import Channel, Offence, PeerId, RequestFailed, Topic, Transport, Verdict
from primitives.certificate import CERTIFICATE_VERSION, certificate_checks
from primitives.errors import DecodeError, InvalidBlock
from primitives.keys import verify
from primitives.limits import (
    HEAD_REPEAT_MS,
    HEADS_TICK_MS,
    MAX_STATUS_BYTES,
    STATUS_INTERVAL_MS,
    STATUS_TIMEOUT_MS,
)

_log = get_logger("heads")

OnTip = Callable[[PeerId, int, int | None], None]
"""Told (peer, height, lowest height it serves; None where it did not say): what the peer claims to hold."""


@dataclass(frozen=True, slots=True)
class PeerHead:
    """What a connected peer said about itself."""

    height: int
    role: Role
    name: str
    lowest_height: int
    heard_ms: int
    """On this node's own clock."""


class HeadTracker:
    """Tips of the connected peers. One for each node; `run` works until cancelled."""

    def __init__(
        self,
        transport: Transport,
        finalizer: Finalizer,
        *,
        role: Role,
        name: str,
        validator_key: bytes | None,
        is_validator: Callable[[PeerId], bool],
        random: Random,
    ) -> None:
        """`is_validator(peer)` tells the current validators' peers, which decide blocks themselves."""
        self._transport = transport
        self._finalizer = finalizer
        self._role: Role = role
        self._name = name
        self._validator_key = validator_key
        self._is_validator = is_validator
        self._random = random
        self._listens = role != "validator"
        self._direct = DirectPacer()
        self._gossip = GossipPacer()
        self._heads: dict[PeerId, PeerHead] = {}
        self._asking: set[PeerId] = set()
        self._ask_at_ms: dict[PeerId, int] = {}
        self._listeners: list[OnTip] = []
        self._jitter_ms = random.randrange(HEAD_REPEAT_MS)
        self._look = trio.Event()
        finalizer.on_final(self._on_final)

    # --- what is known

    def on_tip(self, listener: OnTip) -> None:
        """Call `listener` whenever a peer shows or claims a tip. It must not wait or raise."""
        self._listeners.append(listener)

    def peer(self, peer: PeerId) -> PeerHead | None:
        """What a connected peer said about itself, None before its first status."""
        return self._heads.get(peer)

    def best_height(self) -> int:
        """The highest tip that a connected peer claims; 0 for none."""
        return max((head.height for head in self._heads.values()), default=0)

    def own_status(self) -> Status:
        """Where this node stands."""
        head = self._finalizer.head
        lowest = max(1, self._finalizer.queries.pruned_below)
        chain_id = self._finalizer.chain_id
        return Status(WIRE_VERSION, chain_id, head.height, head.block_id, lowest, self._role, self._name)

    def exchange_status(self, peer: PeerId, theirs: Status) -> Status:
        """A peer of this chain asks for the status and tells its own."""
        self._take_status(peer, theirs)
        return self.own_status()

    # --- connections

    def peer_connected(self, peer: PeerId) -> None:
        """Ask a new peer for its status at once."""
        self._ask_at_ms[peer] = _now_ms()
        self._look.set()

    def peer_gone(self, peer: PeerId) -> None:
        """Forget a peer that is no longer connected."""
        self._heads.pop(peer, None)
        self._ask_at_ms.pop(peer, None)
        self._direct.forget(peer)

    # --- the loop

    def subscribe(self) -> None:
        """Join the gossip of heads, unless this node decides blocks itself. Before the network starts."""
        if self._listens:
            self._transport.subscribe(Topic.HEADS, self._judge)

    async def run(self) -> None:
        """Exchange statuses, hear announcements, repeat own ones; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear_direct)
            if self._listens:
                nursery.start_soon(self._hear_gossip)
            while True:
                self._look = trio.Event()
                now_ms = _now_ms()
                for peer in self._due_for_status(now_ms):
                    self._asking.add(peer)
                    nursery.start_soon(self._ask_status, peer)
                self._announce(now_ms, at_once=False)
                with trio.move_on_after(HEADS_TICK_MS / 1000):
                    await self._look.wait()

    # --- telling

    def _on_final(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        is_own = block.header.proposer == self._validator_key
        now_ms = _now_ms()
        self._gossip.new_head(block.height, now_ms)
        self._announce(now_ms, at_once=is_own)

    def _announce(self, now_ms: int, *, at_once: bool) -> None:
        head = self._finalizer.head
        followers = [peer for peer in self._connected() if self._lacks(peer, head.height)]
        due = self._direct.due(followers, head.height, now_ms, at_once=at_once)
        may_publish = self._listens and head.height >= self.best_height()
        publishes = may_publish and self._gossip.is_due(now_ms, self._jitter_ms)
        if not due and not publishes:
            return
        payload = encode_message(HeadAnnouncement(head.header, head.certificate))
        self._transport.broadcast(due, Channel.BLOCKS, payload)
        if publishes:
            self._transport.publish(Topic.HEADS, payload)

    def _connected(self) -> list[PeerId]:
        return [info.peer_id for info in self._transport.peers()]

    def _lacks(self, peer: PeerId, height: int) -> bool:
        """True for a peer that follows the chain and has not shown the block at `height`."""
        known = self._heads.get(peer)
        follows = not self._is_validator(peer)
        return follows and height > 0 and (known is None or known.height < height)

    # --- hearing

    async def _hear_direct(self) -> None:
        inbox = self._transport.inbox(Channel.BLOCKS)
        while True:
            for message in await inbox.receive():
                try:
                    head = decode_message(message.payload, HeadAnnouncement)
                except DecodeError as error:
                    self._transport.report(message.peer, Offence.INVALID_MESSAGE, f"head: {error.message}")
                    continue
                if self._judge_head(head) is Verdict.REJECT:
                    self._transport.report(message.peer, Offence.INVALID_MESSAGE, "head: nobody decided it")
                    continue
                self._saw(message.peer, head.height)

    async def _hear_gossip(self) -> None:
        inbox = self._transport.inbox(Topic.HEADS)
        while True:
            for message in await inbox.receive():
                head = decode_message(message.payload, HeadAnnouncement)  # judged before: it decodes
                self._gossip.heard(head.height, _now_ms())
                author = message.author
                if author is not None and self._transport.is_connected(author):
                    self._saw(author, head.height)
                elif head.height > self._finalizer.head.height:
                    self._ask_soon(message.peer)

    def _judge(self, neighbour: PeerId, payload: bytes) -> Verdict:
        try:
            return self._judge_head(decode_message(payload, HeadAnnouncement))
        except DecodeError:
            return Verdict.REJECT

    def _judge_head(self, head: HeadAnnouncement) -> Verdict:
        """Relay heads above the own one that look certified: quorum, block id and the first seal hold. One
        seal is what can be checked in the time a relay has; whoever fetches the block checks them all."""
        own = self._finalizer.head
        if head.height <= own.height or head.certificate is None:
            return Verdict.IGNORE
        is_by_override = head.certificate.version != CERTIFICATE_VERSION
        if is_by_override or head.header.validators_hash != own.validators.hash:
            return Verdict.ACCEPT
        try:
            seals = certificate_checks(
                head.certificate, self._finalizer.chain_id, own.validators, head.block_id, head.height
            )
        except InvalidBlock:
            return Verdict.REJECT
        return Verdict.ACCEPT if verify(*seals[0]) else Verdict.REJECT

    def _saw(self, peer: PeerId, height: int) -> None:
        """`peer` announced the block at `height`."""
        known = self._heads.get(peer)
        if known is not None and known.height < height:
            self._heads[peer] = PeerHead(height, known.role, known.name, known.lowest_height, _now_ms())
        for listener in self._listeners:
            listener(peer, height, None)

    # --- statuses

    def _due_for_status(self, now_ms: int) -> list[PeerId]:
        """Connected peers that were silent for the interval, or are asked out of turn."""
        connected = self._connected()
        for gone in sorted(self._heads.keys() - set(connected)):
            self.peer_gone(gone)
        due = []
        for peer in connected:
            if peer in self._asking or self._ask_at_ms.setdefault(peer, now_ms) > now_ms:
                continue
            self._ask_at_ms[peer] = (
                now_ms + STATUS_INTERVAL_MS + self._random.randrange(STATUS_INTERVAL_MS // 4)
            )
            due.append(peer)
        return due

    def _ask_soon(self, peer: PeerId) -> None:
        """A neighbour relayed a head that somebody else holds: it will have it in a moment."""
        soon = _now_ms() + HEAD_REPEAT_MS
        self._ask_at_ms[peer] = min(self._ask_at_ms.get(peer, soon), soon)

    async def _ask_status(self, peer: PeerId) -> None:
        try:
            answer = await self._transport.request(
                peer,
                METHOD_STATUS,
                encode_message(self.own_status()),
                timeout_s=STATUS_TIMEOUT_MS / 1000,
                max_response_bytes=MAX_STATUS_BYTES,
            )
            status = decode_message(answer, Status)
        except RequestFailed as failed:
            _log.debug("heads.no_status", peer=peer, code=str(failed.code), reason=failed.message)
        except DecodeError as error:
            self._transport.report(peer, Offence.INVALID_MESSAGE, f"status: {error.message}")
        else:
            if status.chain_id == self._finalizer.chain_id:
                self._take_status(peer, status)
            else:
                _log.warning("heads.other_chain", peer=peer, chain_id=status.chain_id)
        finally:
            self._asking.discard(peer)

    def _take_status(self, peer: PeerId, status: Status) -> None:
        if not self._transport.is_connected(peer):
            return
        now_ms = _now_ms()
        self._heads[peer] = PeerHead(status.height, status.role, status.name, status.lowest_height, now_ms)
        self._ask_at_ms[peer] = max(self._ask_at_ms.get(peer, 0), now_ms + STATUS_INTERVAL_MS)
        for listener in self._listeners:
            listener(peer, status.height, status.lowest_height)


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
