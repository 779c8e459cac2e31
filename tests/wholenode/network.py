"""The network between simulated machines: `p2p.transport` with the real hub, inboxes, scores and requests.

A connection exists while both ends run, permit each other, one keeps it, and packets pass; it is found dead
`SILENCE_S` after they no longer do. Messages on it are delayed, and with bad links lost, doubled or
overtaken, each by itself: worse than TCP ever is. Two machines may have one PeerId (twins): others are
connected to one of them, which may change. The world carries every message out: there is no task here but
those that serve requests.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field

import trio

from p2p.hub import Hub, check_frame, check_gossip
from p2p.identity import peer_id_from_seed
from p2p.inbox import BoundedEvents, BoundedInbox
from p2p.requests import Asker, Server, check_request, failure
from p2p.transport import (
    Ban,
    Channel,
    Direction,
    DisconnectReason,
    Handler,
    Message,
    Offence,
    PeerId,
    PeerInfo,
    ProbeStep,
    RequestCode,
    Topic,
    TrafficCounters,
    Validator,
    Verdict,
)
from primitives.errors import DecodeError
from primitives.keys import SigningKey
from tests.wholenode.world import World

SILENCE_S = 3.5
_SEEN = 512


@dataclass
class Weather:
    """How messages travel: probabilities a message, seconds."""

    min_delay_s: float = 0.0005
    max_delay_s: float = 0.005
    loss: float = 0.0
    duplication: float = 0.0
    straggle: float = 0.0
    straggle_s: float = 1.5
    dial_s: float = 0.05


class _SimHub(Hub):
    def __init__(self, host: SimHost) -> None:
        super().__init__(host.peer_id, host.cut)
        self._world = host.network.world

    def now_ms(self) -> int:
        return int(self._world.now_s * 1000)


class _Link:
    """One host's end of a connection."""

    def __init__(self, host: SimHost, other: SimHost, direction: Direction) -> None:
        self.other = other
        self.twin: _Link | None = None  # the other end
        self.is_up = True
        self.direction = direction
        self.info = PeerInfo(other.peer_id, direction, (), host.hub.now_ms(), 1.0, 0, 0)
        self.asker = Asker(other.peer_id, lambda body: host.network.carry_request(self, body, to_server=True))
        self.server = Server(other.peer_id, host.hub.handlers, self._answer)
        self._network = host.network
        self.ordered_s = 0.0

    async def _answer(self, body: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._network.carry_request(self, body, to_server=False)


class SimHost:
    """`p2p.transport.Transport` of one run of one machine."""

    def __init__(self, network: SimNetwork, number: int, peer_id: PeerId) -> None:
        self.network = network
        self.number = number
        self._peer_id = peer_id
        self.hub = _SimHub(self)
        self.links: dict[PeerId, _Link] = {}
        self.persistent: set[PeerId] = set()
        self.nursery: trio.Nursery | None = None
        self.context: Context | None = None
        self.is_up = False
        self.listen_addresses: tuple[str, ...] = ()
        self._infos: tuple[PeerInfo, ...] | None = None
        self._published = 0
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def start(self, nursery: trio.Nursery) -> None:
        """The machine listens and dials from now on; handlers run in `nursery`."""
        self.nursery, self.context, self.is_up = nursery, copy_context(), True

    def stop(self) -> None:
        """The machine is gone; others notice at once (its kernel says so) or by its silence."""
        self.is_up = False
        for peer in sorted(self.links):
            self.network.break_link(self.links[peer], DisconnectReason.SHUTDOWN)

    # --- who is there

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def events(self) -> BoundedEvents:
        return self.hub.events

    def peers(self) -> tuple[PeerInfo, ...]:
        if self._infos is None:
            self._infos = tuple(self.links[peer].info for peer in sorted(self.links))
        return self._infos

    def is_connected(self, peer: PeerId) -> bool:
        return peer in self.links

    def set_permitted(self, permitted: Mapping[PeerId, Sequence[str]]) -> None:
        self.hub.set_permitted(permitted, list(self.links))
        self.network.reconsider(self)

    def add_persistent(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        self.persistent.add(peer)
        self.network.reconsider(self)

    def remove_persistent(self, peer: PeerId) -> None:
        self.persistent.discard(peer)

    async def probe(self, address: str) -> list[ProbeStep]:
        """Machines here meet by number: no address leads to one."""
        await trio.lowlevel.checkpoint()
        raise DecodeError(f"{address}: simulated machines have no addresses")

    def disconnect(self, peer: PeerId) -> None:
        self.cut(peer, DisconnectReason.REQUESTED)

    def cut(self, peer: PeerId, reason: DisconnectReason) -> None:
        if (link := self.links.get(peer)) is not None:
            self.network.break_link(link, reason)

    def report(self, peer: PeerId, offence: Offence, detail: str = "") -> None:
        self.network.reported(self, peer, offence, detail)
        self.hub.report(peer, offence, detail)

    def bans(self) -> tuple[Ban, ...]:
        return self.hub.bans()

    def ban(self, peer: PeerId, duration_ms: int, reason: str) -> None:
        self.hub.ban(peer, duration_ms, reason)

    def lift_ban(self, peer: PeerId) -> bool:
        return self.hub.gate.lift_ban(peer)

    # --- messages

    def send(self, peer: PeerId, channel: Channel, payload: bytes) -> bool:
        check_frame(channel, payload)
        link = self.links.get(peer)
        if link is None:
            return False
        self.network.carry(link, channel, payload)
        return True

    def broadcast(self, peers: Iterable[PeerId], channel: Channel, payload: bytes) -> int:
        return sum(self.send(peer, channel, payload) for peer in peers)

    def inbox(self, source: Channel | Topic) -> BoundedInbox:
        return self.hub.inbox(source)

    def subscribe(self, topic: Topic, validator: Validator) -> None:
        self.hub.subscribe(topic, validator)

    def publish(self, topic: Topic, payload: bytes) -> bool:
        check_gossip(self.hub, topic, payload)
        self._published += 1
        name = self.peer_id.encode() + self._published.to_bytes(8, "big") + str(self.number).encode()
        self._relay(topic, name, self.peer_id, payload, self.peer_id)
        return True

    def hear_gossip(
        self, topic: Topic, name: bytes, author: PeerId, payload: bytes, neighbour: PeerId
    ) -> None:
        """A neighbour passed on what `author` published."""
        if name in self._seen or topic not in self.hub.validators:
            return
        self._seen[name] = None
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        if self.hub.judge_gossip(topic, author, neighbour, payload) is Verdict.ACCEPT:
            self.hub.inbox(topic).put_nowait(Message(neighbour, topic, payload, author))
            self._relay(topic, name, author, payload, neighbour)

    def _relay(self, topic: Topic, name: bytes, author: PeerId, payload: bytes, sender: PeerId) -> None:
        for peer in sorted(self.links):
            if peer != sender:
                self.network.gossip(self.links[peer], topic, name, author, payload)

    async def request(
        self, peer: PeerId, method: str, payload: bytes, *, timeout_s: float, max_response_bytes: int
    ) -> bytes:
        check_request(method, payload)
        link = self.links.get(peer)
        if link is None:
            await trio.lowlevel.checkpoint()
            raise failure(RequestCode.NOT_CONNECTED, peer, "not connected")
        return await link.asker.ask(method, payload, timeout_s, max_response_bytes)

    def register_handler(self, method: str, handler: Handler) -> None:
        self.hub.register_handler(method, handler)

    def counters(self) -> TrafficCounters:
        return self.hub.counters()

    # --- called by the network

    def connected(self, link: _Link) -> None:
        self.links[link.other.peer_id] = link
        self._infos = None
        self.hub.connected(link.other.peer_id)

    def lost(self, link: _Link, reason: DisconnectReason) -> None:
        peer = link.other.peer_id
        if self.links.get(peer) is link:
            del self.links[peer]
            self._infos = None
            link.asker.fail_all(RequestCode.DISCONNECTED, "the connection was lost")
            self.hub.disconnected(peer, reason)


@dataclass
class SimNetwork:
    """All hosts, and what lies between them."""

    world: World
    weather: Weather = field(default_factory=Weather)
    hosts: dict[int, SimHost] = field(default_factory=dict)
    blocked: set[tuple[int, int]] = field(default_factory=set)  # one-way: from, to
    delivered: int = 0
    reports: dict[tuple[int, PeerId, Offence], str] = field(default_factory=dict)
    _dialling: set[tuple[int, int]] = field(default_factory=set)

    # --- faults

    def block(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Nothing passes from one to the other; connections are found dead after a while."""
        for pair in pairs:
            if pair not in self.blocked:
                self.blocked.add(pair)
                self.world.after(SILENCE_S, self._found_silent, pair)

    def split(self, *groups: Iterable[int]) -> None:
        """Nothing passes between the groups."""
        sets = [set(group) for group in groups]
        self.block((a, b) for one in sets for other in sets if one is not other for a in one for b in other)

    def isolate(self, number: int) -> None:
        """One machine hears and is heard by nobody."""
        self.split({number}, set(self.hosts) - {number})

    def heal(self) -> None:
        """Everything passes again."""
        self.blocked.clear()
        for number in sorted(self.hosts):
            self.reconsider(self.hosts[number])

    def calm(self) -> None:
        """Good weather, no cuts."""
        self.weather = Weather()
        self.heal()

    def _found_silent(self, pair: tuple[int, int]) -> None:
        if pair in self.blocked:
            host, other = self.hosts.get(pair[0]), self.hosts.get(pair[1])
            if host is not None and other is not None:
                link = host.links.get(other.peer_id)
                if link is not None and link.other is other:
                    self.break_link(link, DisconnectReason.UNRESPONSIVE)

    def passes(self, source: int, target: int) -> bool:
        """True when packets get from one to the other now."""
        return (source, target) not in self.blocked

    def reported(self, host: SimHost, peer: PeerId, offence: Offence, detail: str) -> None:
        """A host charged a peer: kept for the oracle, which knows who is honest."""
        self.reports.setdefault((host.number, peer, offence), detail)

    # --- connections

    @asynccontextmanager
    async def open(self, number: int, peer: SigningKey) -> AsyncIterator[SimHost]:
        """A machine's host while the context lasts; it takes the place of its last one."""
        host = self.hosts[number] = SimHost(self, number, peer_id_from_seed(peer.seed))
        try:
            async with trio.open_nursery() as nursery:
                host.start(nursery)
                try:
                    yield host
                finally:
                    nursery.cancel_scope.cancel()
        finally:
            host.stop()

    def reconsider(self, host: SimHost) -> None:
        """Dial whom this host keeps, and let those dial that keep it."""
        if not host.is_up:
            return
        for number in sorted(self.hosts):
            other = self.hosts[number]
            if other is not host and (other.peer_id in host.persistent or host.peer_id in other.persistent):
                self._dial_later(host, other, self.weather.dial_s)

    def _dial_later(self, host: SimHost, other: SimHost, delay_s: float) -> None:
        pair = (min(host.number, other.number), max(host.number, other.number))
        if pair not in self._dialling:
            self._dialling.add(pair)
            self.world.after(delay_s * (0.5 + self.world.random.random()), self._dial, pair, delay_s)

    def _dial(self, pair: tuple[int, int], delay_s: float) -> None:
        self._dialling.discard(pair)
        a, b = self.hosts[pair[0]], self.hosts[pair[1]]
        if not (a.is_up and b.is_up) or a.peer_id == b.peer_id:
            return
        if b.peer_id in a.links or a.peer_id in b.links:
            return
        if b.peer_id not in a.persistent and a.peer_id not in b.persistent:
            return
        open_ways = self.passes(*pair) and self.passes(pair[1], pair[0])
        if not open_ways or a.hub.refusal(b.peer_id) is not None or b.hub.refusal(a.peer_id) is not None:
            if self.passes(*pair) or self.passes(pair[1], pair[0]) or not self.blocked:
                self._dial_later(a, b, min(2 * delay_s, 1.0))
            return  # a healed cut dials anew
        here, there = _Link(a, b, Direction.OUTBOUND), _Link(b, a, Direction.INBOUND)
        here.twin, there.twin = there, here
        a.connected(here)
        b.connected(there)

    def break_link(self, link: _Link, reason: DisconnectReason) -> None:
        """Both ends lose the connection; what is under way on it is lost."""
        other = link.twin
        if not link.is_up or other is None:
            return
        link.is_up = other.is_up = False
        other.other.lost(link, reason)
        link.other.lost(other, DisconnectReason.CLOSED_BY_PEER)
        self._dial_later(link.other, other.other, 2 * self.weather.dial_s)

    # --- carrying

    def _delays_s(self, link: _Link, payload: bytes) -> Iterable[float]:
        source, target = link.twin.other.number, link.other.number  # type: ignore[union-attr]
        if (source, target) in self.blocked:
            return ()
        weather, dice = self.weather, self.world.random.random
        if weather.loss and dice() < weather.loss:
            return ()
        copies = 2 if weather.duplication and dice() < weather.duplication else 1
        delays = []
        for _ in range(copies):
            delay_s = weather.min_delay_s + dice() * (weather.max_delay_s - weather.min_delay_s)
            if weather.straggle and dice() < weather.straggle:
                delay_s += dice() * weather.straggle_s
            delays.append(delay_s)
        return delays

    def carry(self, link: _Link, channel: Channel, payload: bytes) -> None:
        """A direct message, to arrive later, or not."""
        for delay_s in self._delays_s(link, payload):
            self.world.after(delay_s, self._arrive, link, channel, payload)

    def _arrive(self, link: _Link, channel: Channel, payload: bytes) -> None:
        if self._is_through(link, payload):
            peer = link.twin.other.peer_id  # type: ignore[union-attr]
            if link.other.hub.refusal(peer) is None:
                link.other.hub.inbox(channel).put_nowait(Message(peer, channel, payload))

    def _is_through(self, link: _Link, payload: bytes) -> bool:
        source, target = link.twin.other, link.other  # type: ignore[union-attr]
        if not link.is_up or (source.number, target.number) in self.blocked:
            return False
        self.delivered += 1
        self.world.note(target.number, zlib.crc32(payload).to_bytes(4, "big"))
        return True

    def gossip(self, link: _Link, topic: Topic, name: bytes, author: PeerId, payload: bytes) -> None:
        """Tell a neighbour, later, or not."""
        for delay_s in self._delays_s(link, payload):
            self.world.after(delay_s, self._hear, link, topic, name, author, payload)

    def _hear(self, link: _Link, topic: Topic, name: bytes, author: PeerId, payload: bytes) -> None:
        if self._is_through(link, payload):
            link.other.hear_gossip(topic, name, author, payload, link.twin.other.peer_id)  # type: ignore[union-attr]

    def carry_request(self, link: _Link, body: bytes, *, to_server: bool) -> bool:
        """A frame of the request streams: in order, lost only with all that follows from it."""
        if not link.is_up:
            return False
        delays = list(self._delays_s(link, body))
        if delays:
            link.ordered_s = max(link.ordered_s, self.world.now_s + delays[0])
            self.world.after(link.ordered_s - self.world.now_s, self._arrive_request, link, body, to_server)
        return True

    def _arrive_request(self, link: _Link, body: bytes, to_server: bool) -> None:
        if not self._is_through(link, body):
            return
        host, end = link.other, link.twin
        if end is None or host.nursery is None or host.context is None:
            return
        if to_server:
            host.context.run(host.nursery.start_soon, end.server.on_frame, body, host.nursery)
        else:
            end.asker.on_frame(body)
