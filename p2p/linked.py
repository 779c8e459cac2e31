"""A transport made of links: one connection a peer, kept by the dialer, judged by the hub.

How a connection comes about (sockets and libp2p, or memory) and how gossip travels is for the two that build
on it, `p2p.host` and `p2p.memory`; everything a node can see is here, and so the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog
import trio

from p2p.addresses import Address, parse_address
from p2p.dialer import Dialer
from p2p.hub import Hub, check_frame, check_gossip
from p2p.identity import PeerId
from p2p.inbox import BoundedEvents, BoundedInbox
from p2p.link import ExtraHandler, Negotiator, PeerLink
from p2p.probe import walk
from p2p.requests import check_request, failure
from p2p.transport import (
    Ban,
    Channel,
    Direction,
    DisconnectReason,
    Handler,
    Offence,
    PeerInfo,
    ProbeStage,
    ProbeStep,
    RequestCode,
    Topic,
    TrafficCounters,
    Validator,
)
from p2p.yamux import SecureChannel
from primitives.limits import HANDSHAKE_SECONDS

_log = structlog.get_logger(__name__)

_SIMULTANEOUS_S: Final = 2.0
"""Two connections to one peer this close together were dialled at once; otherwise the newer one wins."""

_WORTH_A_WARNING: Final = ("not_admitted", "identity")
"""What no waiting mends; said once until it changes."""


class DialFailed(Exception):
    """No connection. `reason` is a label of `drex_dial_failures_total`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


Reached = Callable[[ProbeStage], None]
"""Told each stage that a dial has passed."""


class GossipCarrier(Protocol):
    """How published messages reach the network. Nothing here waits but `run`."""

    def subscribe(self, topic: Topic) -> None: ...

    def publish(self, topic: Topic, payload: bytes) -> bool: ...

    def connected(self, peer: PeerId) -> None: ...

    def disconnected(self, peer: PeerId) -> None: ...

    async def run(self) -> None: ...


class LinkedTransport:
    """`p2p.transport.Transport` over links. A subclass sets `gossip`, `negotiator` and `extras`, gives
    `listen_addresses` and `connect`, and brings in what it accepts through `serve_inbound`."""

    gossip: GossipCarrier
    negotiator: Negotiator
    extras: Mapping[str, ExtraHandler]
    listen_addresses: tuple[str, ...] = ()

    def __init__(self, peer_id: PeerId) -> None:
        self._peer_id: Final = peer_id
        self.hub: Final = Hub(peer_id, self._cut)
        self.links: Final[dict[PeerId, PeerLink]] = {}
        self._dialer = Dialer(peer_id, self._dial, self.is_connected)
        self._dial_failures: dict[PeerId, str] = {}
        self.nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Dial and gossip until cancelled."""
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            nursery.start_soon(self.gossip.run)
            nursery.start_soon(self._dialer.run)
            await self.listen()

    async def listen(self) -> None:
        """Accept connections until cancelled, if this transport does."""

    async def connect(
        self, peer: PeerId, address: Address, reached: Reached = lambda _: None
    ) -> SecureChannel:
        """A channel to exactly this peer, or `DialFailed`. Under a deadline set by the caller."""
        raise NotImplementedError

    # --- who is there
    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def events(self) -> BoundedEvents:
        return self.hub.events

    def peers(self) -> tuple[PeerInfo, ...]:
        return tuple(
            self.links[peer].info() for peer in sorted(self.links) if self.links[peer].ready.is_set()
        )

    def is_connected(self, peer: PeerId) -> bool:
        return self.ready_link(peer) is not None

    def ready_link(self, peer: PeerId) -> PeerLink | None:
        """The link that messages to `peer` go over, if it is up."""
        link = self.links.get(peer)
        return link if link is not None and link.ready.is_set() and not link.session.is_closed else None

    # --- who may be there
    def set_permitted(self, permitted: Mapping[PeerId, Sequence[str]]) -> None:
        self.hub.set_permitted(permitted, list(self.links))
        for peer in self._dialer.peers:
            self._dialer.nudge(peer)

    def add_persistent(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        for address in addresses:
            parse_address(address)
        self._dialer.add(peer, addresses)

    def remove_persistent(self, peer: PeerId) -> None:
        self._dial_failures.pop(peer, None)
        self._dialer.remove(peer)

    async def probe(self, address: str) -> list[ProbeStep]:
        return await walk(self, address)

    def disconnect(self, peer: PeerId) -> None:
        self._cut(peer, DisconnectReason.REQUESTED)

    def report(self, peer: PeerId, offence: Offence, detail: str = "") -> None:
        self.hub.report(peer, offence, detail)

    def bans(self) -> tuple[Ban, ...]:
        return self.hub.bans()

    def ban(self, peer: PeerId, duration_ms: int, reason: str) -> None:
        self.hub.ban(peer, duration_ms, reason)

    def lift_ban(self, peer: PeerId) -> bool:
        lifted = self.hub.gate.lift_ban(peer)
        self._dialer.nudge(peer)
        return lifted

    async def knock(self, address: Address) -> tuple[str, str] | None:
        """Whether somebody listens at an address: None, or the reason and detail of a `DialFailed`."""
        raise NotImplementedError

    def _cut(self, peer: PeerId, reason: DisconnectReason) -> None:
        if link := self.links.get(peer):
            link.session.close(reason)

    # --- messages
    def send(self, peer: PeerId, channel: Channel, payload: bytes) -> bool:
        check_frame(channel, payload)
        link = self.ready_link(peer)
        return link is not None and link.send(channel, payload)

    def broadcast(self, peers: Iterable[PeerId], channel: Channel, payload: bytes) -> int:
        return sum(self.send(peer, channel, payload) for peer in peers)

    def inbox(self, source: Channel | Topic) -> BoundedInbox:
        return self.hub.inbox(source)

    def subscribe(self, topic: Topic, validator: Validator) -> None:
        self.hub.subscribe(topic, validator)
        self.gossip.subscribe(topic)

    def publish(self, topic: Topic, payload: bytes) -> bool:
        check_gossip(self.hub, topic, payload)
        return self.gossip.publish(topic, payload)

    async def request(
        self, peer: PeerId, method: str, payload: bytes, *, timeout_s: float, max_response_bytes: int
    ) -> bytes:
        check_request(method, payload)
        link = self.ready_link(peer)
        if link is None:
            raise failure(RequestCode.NOT_CONNECTED, peer, "not connected")
        return await link.request(method, payload, timeout_s, max_response_bytes)

    def register_handler(self, method: str, handler: Handler) -> None:
        check_request(method, b"")
        self.hub.register_handler(method, handler)

    def counters(self) -> TrafficCounters:
        return self.hub.counters()

    # --- connections
    async def serve_inbound(self, peer: PeerId, channel: SecureChannel, address: Address) -> None:
        """Serve a connection that `peer`, proven and permitted, opened, to its end."""
        await self._serve(self._link(peer, channel, Direction.INBOUND, address))

    async def _dial(self, peer: PeerId, addresses: Sequence[str]) -> bool:
        """Try a peer's addresses in order; true once it is connected, whoever dialled."""
        if self.hub.refusal(peer) is not None:
            return False
        for text in addresses or self.hub.gate.addresses(peer):
            link = self.links.get(peer) or await self._dial_address(peer, parse_address(text))
            if link is not None:
                await link.settled.wait()
            if self.is_connected(peer):
                return True
        return False

    async def _dial_address(self, peer: PeerId, address: Address) -> PeerLink | None:
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                channel = await self.connect(peer, address)
        except (DialFailed, trio.TooSlowError) as error:
            reason = error.reason if isinstance(error, DialFailed) else "timeout"
            self.hub.dial_failures[reason] += 1
            is_news = self._dial_failures.get(peer) != reason
            self._dial_failures[peer] = reason
            say = _log.warning if is_news and reason in _WORTH_A_WARNING else _log.debug
            say("dial_failed", peer=peer, address=str(address), reason=reason, detail=str(error))
            return None
        self._dial_failures.pop(peer, None)
        return self.serve_outbound(peer, channel, address)

    def serve_outbound(self, peer: PeerId, channel: SecureChannel, address: Address) -> PeerLink:
        """Serve a connection that this node dialled, until it ends, beside the caller."""
        link = self._link(peer, channel, Direction.OUTBOUND, address)
        if self.nursery is not None:
            self.nursery.start_soon(self._serve, link)
        return link

    def _link(self, peer: PeerId, channel: SecureChannel, direction: Direction, address: Address) -> PeerLink:
        return PeerLink(
            self.hub,
            peer,
            channel,
            direction=direction,
            addresses=(str(address),),
            negotiator=self.negotiator,
            extras=self.extras,
        )

    async def _serve(self, link: PeerLink) -> None:
        """Run a link from its admission to its end."""
        try:
            if self._admit(link):
                reason = await link.run(self._on_ready)
                self._gone(link, reason)
        finally:
            link.session.close(DisconnectReason.DUPLICATE)
            link.settled.set()

    def _admit(self, link: PeerLink) -> bool:
        """Of two connections with one peer the newer stays, but of two dialled at once the one that the
        smaller PeerId dialled: both ends then keep the same."""
        old = self.links.get(link.peer)
        if old is not None and not old.session.is_closed:
            at_once = link.since_s - old.since_s < _SIMULTANEOUS_S and link.direction is not old.direction
            ours_stays = self._peer_id < link.peer
            if at_once and (old.direction is Direction.OUTBOUND) == ours_stays:
                return False
            old.session.close(DisconnectReason.DUPLICATE)
            self._gone(old, DisconnectReason.DUPLICATE)
        self.links[link.peer] = link
        return True

    def _on_ready(self, link: PeerLink) -> None:
        link.settled.set()
        self.gossip.connected(link.peer)
        self.hub.connected(link.peer)
        self._dialer.nudge(link.peer)

    def _gone(self, link: PeerLink, reason: DisconnectReason) -> None:
        if self.links.get(link.peer) is not link:
            return  # replaced, and told as gone already
        del self.links[link.peer]
        if link.ready.is_set():
            self.gossip.disconnected(link.peer)
            self.hub.disconnected(link.peer, reason, link.session.detail)
        self._dialer.nudge(link.peer)
