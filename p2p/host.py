"""The network over libp2p: TCP, Noise, yamux, multistream-select, gossipsub 1.1. Implements `p2p.transport`.

It promises: a peer that is not permitted is refused right after the Noise handshake and logged, and checked
again at every message; there is one connection a peer; half-open handshakes are bounded in number and time;
whatever bytes arrive, at worst the connection they came on ends. docs/network.md tells the wire, and which of
libp2p's defaults are replaced and why.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from p2p.addresses import Address, parse_address
from p2p.budget import TokenBucket
from p2p.dialer import Dialer
from p2p.hub import Hub, check_frame, check_gossip
from p2p.identity import PeerId, peer_id_from_seed
from p2p.inbox import BoundedEvents, BoundedInbox
from p2p.libp2p_extras import IDENTIFY_PROTOCOL, PING_PROTOCOL, identify_server, serve_ping
from p2p.libp2p_gossip import GOSSIP_PROTOCOL, GossipHost, GossipService
from p2p.libp2p_streams import Multistream
from p2p.libp2p_upgrade import HandshakeFailed, Secured, Upgrader
from p2p.link import PROTOCOLS, REQUEST_PROTOCOL, PeerLink
from p2p.requests import check_request, failure
from p2p.transport import (
    Ban,
    Channel,
    Direction,
    DisconnectReason,
    Handler,
    Offence,
    PeerInfo,
    RequestCode,
    Topic,
    TrafficCounters,
    Validator,
)
from primitives.limits import (
    HANDSHAKE_SECONDS,
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_ADDRESS,
    MAX_PEERS,
)

_log = structlog.get_logger(__name__)

_SIMULTANEOUS_S: Final = 2.0
"""Two connections to one peer this close together were dialled at once; otherwise the newer one wins."""
_REFUSAL_LOGS_PER_SECOND: Final = 5.0


@asynccontextmanager
async def open_host(*, seed: bytes, network: str, listen: Sequence[str]) -> AsyncIterator[Libp2pHost]:
    """A node on the network while the context lasts. `seed` makes its identity key (32 bytes), `network`
    names the chain (gossip topics carry it), `listen` are multiaddrs, port 0 for any. Nobody is permitted
    yet. Raises `OSError` if an address can't be bound."""
    listeners: list[trio.SocketListener] = []
    for text in listen:
        address = parse_address(text)
        listeners += await trio.open_tcp_listeners(address.port, host=address.host)
    host = Libp2pHost(seed, network, listeners)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        try:
            yield host
        finally:
            nursery.cancel_scope.cancel()


class Libp2pHost:
    """`p2p.transport.Transport` over libp2p. Made by `open_host`."""

    def __init__(self, seed: bytes, network: str, listeners: list[trio.SocketListener]) -> None:
        self._peer_id: Final = peer_id_from_seed(seed)
        self._hub: Final = Hub(self._peer_id, self._cut)
        self._links: dict[PeerId, PeerLink] = {}
        self._listeners = listeners
        self._listen_addresses = tuple(_listen_address(listener, self._peer_id) for listener in listeners)
        self._upgrader = Upgrader(seed, self._hub.refusal)
        self._negotiator = Multistream()
        self._gossip_host = GossipHost(seed, self._ready_link, self._negotiator)
        self._gossip = GossipService(self._hub, network, self._gossip_host)
        self._extras = {
            GOSSIP_PROTOCOL: self._gossip.serve,
            PING_PROTOCOL: serve_ping,
            IDENTIFY_PROTOCOL: identify_server(self._gossip_host),
        }
        self._gossip_host.protocols = (*PROTOCOLS.values(), REQUEST_PROTOCOL, *self._extras)
        self._dialer = Dialer(self._peer_id, self._dial, self.is_connected)
        self._handshakes: Counter[str] = Counter()
        self._refusal_logs = TokenBucket(_REFUSAL_LOGS_PER_SECOND, 50, trio.current_time())
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Listen, dial and gossip until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._gossip.run)
            nursery.start_soon(self._dialer.run)
            if self._listeners:
                nursery.start_soon(trio.serve_listeners, self._accept, self._listeners)

    # --- who is there
    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def listen_addresses(self) -> tuple[str, ...]:
        return self._listen_addresses

    @property
    def events(self) -> BoundedEvents:
        return self._hub.events

    def peers(self) -> tuple[PeerInfo, ...]:
        return tuple(
            self._links[peer].info() for peer in sorted(self._links) if self._links[peer].ready.is_set()
        )

    def is_connected(self, peer: PeerId) -> bool:
        return self._ready_link(peer) is not None

    def _ready_link(self, peer: PeerId) -> PeerLink | None:
        link = self._links.get(peer)
        return link if link is not None and link.ready.is_set() and not link.session.is_closed else None

    # --- who may be there
    def set_permitted(self, permitted: Mapping[PeerId, Sequence[str]]) -> None:
        self._hub.set_permitted(permitted, list(self._links))
        for peer in self._dialer.peers:
            self._dialer.nudge(peer)

    def add_persistent(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        for address in addresses:
            parse_address(address)
        self._dialer.add(peer, addresses)

    def remove_persistent(self, peer: PeerId) -> None:
        self._dialer.remove(peer)

    def disconnect(self, peer: PeerId) -> None:
        self._cut(peer, DisconnectReason.REQUESTED)

    def report(self, peer: PeerId, offence: Offence, detail: str = "") -> None:
        self._hub.report(peer, offence, detail)

    def bans(self) -> tuple[Ban, ...]:
        return self._hub.bans()

    def ban(self, peer: PeerId, duration_ms: int, reason: str) -> None:
        self._hub.ban(peer, duration_ms, reason)

    def lift_ban(self, peer: PeerId) -> bool:
        self._dialer.nudge(peer)
        return self._hub.gate.lift_ban(peer)

    def _cut(self, peer: PeerId, reason: DisconnectReason) -> None:
        if link := self._links.get(peer):
            link.session.close(reason)

    # --- messages
    def send(self, peer: PeerId, channel: Channel, payload: bytes) -> bool:
        check_frame(channel, payload)
        link = self._ready_link(peer)
        return link is not None and link.send(channel, payload)

    def broadcast(self, peers: Iterable[PeerId], channel: Channel, payload: bytes) -> int:
        return sum(self.send(peer, channel, payload) for peer in peers)

    def inbox(self, source: Channel | Topic) -> BoundedInbox:
        return self._hub.inbox(source)

    def subscribe(self, topic: Topic, validator: Validator) -> None:
        self._hub.subscribe(topic, validator)
        self._gossip.subscribe(topic)

    def publish(self, topic: Topic, payload: bytes) -> bool:
        check_gossip(self._hub, topic, payload)
        return self._gossip.publish(topic, payload)

    async def request(
        self, peer: PeerId, method: str, payload: bytes, *, timeout_s: float, max_response_bytes: int
    ) -> bytes:
        check_request(method, payload)
        link = self._ready_link(peer)
        if link is None:
            raise failure(RequestCode.NOT_CONNECTED, peer, "not connected")
        return await link.request(method, payload, timeout_s, max_response_bytes)

    def register_handler(self, method: str, handler: Handler) -> None:
        check_request(method, b"")
        self._hub.register_handler(method, handler)

    def counters(self) -> TrafficCounters:
        return self._hub.counters()

    # --- connections in
    async def _accept(self, stream: trio.SocketStream) -> None:
        """Serve one inbound connection to its end. Never raises for what a stranger does."""
        address = _remote_address(stream)
        if (
            self._handshakes.total() >= MAX_HANDSHAKES
            or self._handshakes[address.host] >= MAX_HANDSHAKES_PER_ADDRESS
            or len(self._links) >= MAX_PEERS
        ):
            self._refused(address, "too_many", "")
            await trio.aclose_forcefully(stream)
            return
        self._handshakes[address.host] += 1
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                secured = await self._upgrader.inbound(stream)
        except HandshakeFailed as failed:
            self._refused(address, failed.reason, failed.detail, failed.peer)
            await trio.aclose_forcefully(stream)
            return
        except trio.TooSlowError:
            self._refused(address, "handshake_timeout", "")
            await trio.aclose_forcefully(stream)
            return
        finally:
            self._handshakes[address.host] -= 1
            if not self._handshakes[address.host]:
                del self._handshakes[address.host]
        await self._serve(self._link(secured, Direction.INBOUND, address))

    def _refused(self, address: Address, reason: str, detail: str, peer: PeerId | None = None) -> None:
        self._hub.refused_connections[reason] += 1
        if self._refusal_logs.try_take(1, trio.current_time()):
            _log.warning("connection_refused", address=str(address), reason=reason, detail=detail, peer=peer)

    # --- connections out
    async def _dial(self, peer: PeerId, addresses: Sequence[str]) -> bool:
        """Try a peer's addresses in order; true once it is connected, whoever dialled."""
        if self._hub.refusal(peer) is not None:
            return False
        for text in addresses or self._hub.gate.addresses(peer):
            link = self._links.get(peer) or await self._dial_address(peer, parse_address(text))
            if link is not None:
                await link.settled.wait()
            if self.is_connected(peer):
                return True
        return False

    async def _dial_address(self, peer: PeerId, address: Address) -> PeerLink | None:
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                secured = await self._connect(peer, address)
        except (OSError, HandshakeFailed, trio.TooSlowError) as error:
            reason = _dial_failure(error)
            self._hub.dial_failures[reason] += 1
            _log.debug("dial_failed", peer=peer, address=str(address), reason=reason, detail=str(error))
            return None
        link = self._link(secured, Direction.OUTBOUND, address)
        if self._nursery is not None:
            self._nursery.start_soon(self._serve, link)
        return link

    async def _connect(self, peer: PeerId, address: Address) -> Secured:
        stream = await trio.open_tcp_stream(address.host, address.port)
        try:
            return await self._upgrader.outbound(stream, peer)
        except BaseException:
            stream.socket.close()
            raise

    # --- one connection a peer
    def _link(self, secured: Secured, direction: Direction, address: Address) -> PeerLink:
        return PeerLink(
            self._hub,
            secured.peer,
            secured.pipe,
            direction=direction,
            addresses=(str(address),),
            negotiator=self._negotiator,
            extras=self._extras,
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
        old = self._links.get(link.peer)
        if old is not None and not old.session.is_closed:
            at_once = link.since_s - old.since_s < _SIMULTANEOUS_S and link.direction is not old.direction
            ours_stays = self._peer_id < link.peer
            if at_once and (old.direction is Direction.OUTBOUND) == ours_stays:
                return False
            old.session.close(DisconnectReason.DUPLICATE)
            self._gone(old, DisconnectReason.DUPLICATE)
        self._links[link.peer] = link
        return True

    def _on_ready(self, link: PeerLink) -> None:
        link.settled.set()
        self._gossip.connected(link.peer)
        self._hub.connected(link.peer)
        self._dialer.nudge(link.peer)

    def _gone(self, link: PeerLink, reason: DisconnectReason) -> None:
        if self._links.get(link.peer) is not link:
            return  # replaced, and told as gone already
        del self._links[link.peer]
        if link.ready.is_set():
            self._gossip.disconnected(link.peer)
            self._hub.disconnected(link.peer, reason, link.session.detail)
        self._dialer.nudge(link.peer)


def _listen_address(listener: trio.SocketListener, peer: PeerId) -> str:
    host, port = listener.socket.getsockname()[:2]
    return str(Address(host, port, peer))


def _remote_address(stream: trio.SocketStream) -> Address:
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:  # gone already
        return Address("0.0.0.0", 0)
    return Address(host, port)


def _dial_failure(error: Exception) -> str:
    """The `reason` label of `drex_dial_failures_total`."""
    match error:
        case HandshakeFailed():
            return error.reason
        case trio.TooSlowError() | TimeoutError():
            return "timeout"
        case ConnectionRefusedError():
            return "refused"
        case socket.gaierror():
            return "name"
        case OSError():
            return "unreachable" if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH) else _inner(error)
        case _:
            return "other"


def _inner(error: OSError) -> str:
    """`open_tcp_stream` wraps what each address said."""
    causes = [error.__cause__, *getattr(error.__cause__, "exceptions", ())]
    return "refused" if any(isinstance(cause, ConnectionRefusedError) for cause in causes) else "other"
