"""The network in one process: `p2p.transport` without sockets, keys or libp2p, for tests and simulations.

The same links, streams, budgets and queues as over libp2p; only the pipe below and gossip (a plain flood) are
other. Bytes arrive after `MemoryNetwork.delay_s`, in order; `cut` and `heal` part and rejoin two nodes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from p2p.addresses import Address
from p2p.framing import FrameDecoder, frame
from p2p.hub import GOSSIP_LABEL
from p2p.identity import PeerId, peer_id_from_seed
from p2p.link import Paced, PeerLink
from p2p.linked import DialFailed, LinkedTransport, Reached
from p2p.transport import Gossip, Message, ProbeStage, Topic, Verdict
from p2p.yamux import ChannelClosed
from p2p.yamux_stream import LOW, StreamClosed, YamuxStream
from primitives.errors import DecodeError
from primitives.limits import GOSSIP_MAX_BYTES, GOSSIP_PUBLISH_QUEUE

_FLOOD_PROTOCOL: Final = "/drex/flood/1"
_MAX_NAME: Final = 128
_MAX_PIPE_BYTES: Final = 256 * 1024
_SEEN_MAX: Final = 4096
_TOPICS: Final = tuple(Topic)


class MemoryNetwork:
    """Where in-memory nodes meet. `delay_s` holds for bytes sent from now on."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self._hosts: dict[str, MemoryHost] = {}
        self._cuts: set[frozenset[PeerId]] = set()

    @asynccontextmanager
    async def open_host(self, seed: bytes) -> AsyncIterator[MemoryHost]:
        """A node on this network while the context lasts. Its address is made up: `/dns/<peer>/tcp/1`."""
        host = MemoryHost(self, peer_id_from_seed(seed))
        self._hosts[host.peer_id] = host
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.run)
            try:
                yield host
            finally:
                del self._hosts[host.peer_id]
                nursery.cancel_scope.cancel()

    def cut(self, one: PeerId, other: PeerId) -> None:
        """From now on nothing passes between the two; live connections fall silent: a pulled cable."""
        self._cuts.add(frozenset((one, other)))

    def heal(self, one: PeerId, other: PeerId) -> None:
        self._cuts.discard(frozenset((one, other)))

    def is_cut(self, one: PeerId, other: PeerId) -> bool:
        return frozenset((one, other)) in self._cuts

    def find(self, peer: str) -> MemoryHost | None:
        return self._hosts.get(peer)


class _Pipe:
    """Bytes one way between two nodes."""

    def __init__(self, network: MemoryNetwork, source: PeerId, target: PeerId) -> None:
        self._network = network
        self._ends = (source, target)
        self._queue: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._changed = trio.Event()
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        while self._size >= _MAX_PIPE_BYTES and not self.closed:
            await self._changed.wait()
        if self.closed:
            raise ChannelClosed("the pipe is closed")
        if self._network.is_cut(*self._ends):
            return  # lost; the connection will be found dead by its pings
        self._queue.append((trio.current_time() + self._network.delay_s, data))
        self._size += len(data)
        self._change()

    async def receive(self) -> bytes:
        while not self._queue:
            if self.closed:
                raise ChannelClosed("the pipe is closed")
            await self._changed.wait()
        due_s, data = self._queue.popleft()
        await trio.sleep(max(0.0, due_s - trio.current_time()))
        self._size -= len(data)
        self._change()
        return data


class _MemoryChannel:
    """A `SecureChannel` over two pipes."""

    def __init__(self, outgoing: _Pipe, incoming: _Pipe) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    async def receive(self) -> bytes:
        return await self._incoming.receive()

    async def send(self, data: bytes) -> None:
        await self._outgoing.send(data)

    def kill(self) -> None:
        self._outgoing.close()
        self._incoming.close()


class _NameNegotiator:
    """The opener names a protocol, the other side answers with one byte: spoken or not."""

    async def select(self, stream: YamuxStream, protocol: str) -> bool:
        stream.write_nowait(frame(protocol.encode()))
        if await stream.read(1) == b"\x01":
            return True
        stream.reset()
        return False

    async def accept(self, stream: YamuxStream, protocols: frozenset[str]) -> str:
        decoder = FrameDecoder(_MAX_NAME)
        while piece := await stream.read(1):
            if names := decoder.feed(piece):
                name = names[0].decode("ascii", "replace")
                stream.write_nowait(bytes([name in protocols]))
                return name if name in protocols else ""
        raise DecodeError("a stream that names no protocol")


class MemoryHost(LinkedTransport):
    """`p2p.transport.Transport` in memory. Made by `MemoryNetwork.open_host`."""

    def __init__(self, network: MemoryNetwork, peer_id: PeerId) -> None:
        super().__init__(peer_id)
        self._network = network
        self.listen_addresses = (str(Address(peer_id, 1, peer_id)),)
        self.negotiator = _NameNegotiator()
        self.gossip = flood = _Flood(self)
        self.extras = {_FLOOD_PROTOCOL: flood.serve}

    async def knock(self, address: Address) -> tuple[str, str] | None:
        await trio.sleep(self._network.delay_s)
        other = self._network.find(address.host)
        return ("refused", "nobody listens there") if other is None or other.nursery is None else None

    async def connect(
        self, peer: PeerId, address: Address, reached: Reached = lambda _: None
    ) -> _MemoryChannel:
        """Meet the other host. Raises `DialFailed`, with the reasons that sockets would give."""
        await trio.sleep(self._network.delay_s)
        other = self._network.find(address.host)
        if other is None or other.nursery is None:
            raise DialFailed("refused", "nobody listens there")
        if self._network.is_cut(self.peer_id, other.peer_id):
            await trio.sleep_forever()  # the caller's deadline ends it
        if other.peer_id != peer:
            raise DialFailed("identity", f"{other.peer_id} answers there")
        reached(ProbeStage.IDENTITY)
        if (reason := other.hub.refusal(self.peer_id)) is not None:
            other.hub.refused_connections[reason.value] += 1
            raise DialFailed("not_admitted", "it closed the connection to this peer id")
        there = _Pipe(self._network, self.peer_id, peer)
        back = _Pipe(self._network, peer, self.peer_id)
        here = Address(self.peer_id, 1)
        other.nursery.start_soon(other.serve_inbound, self.peer_id, _MemoryChannel(back, there), here)
        return _MemoryChannel(there, back)


class _Flood:
    """Gossip by telling everybody once: frames of topic, author, number and payload on an own stream."""

    def __init__(self, host: MemoryHost) -> None:
        self._host = host
        self._number = 0
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._streams: dict[PeerId, YamuxStream] = {}

    def subscribe(self, topic: Topic) -> None:
        """Nothing to tell: everybody hears everything, the hub ignores what is not subscribed."""

    def publish(self, topic: Topic, payload: bytes) -> bool:
        self._number += 1
        head = bytes([_TOPICS.index(topic)]) + self._host.peer_id.encode() + self._number.to_bytes(8, "big")
        self._host.hub.gossip[topic.value, Gossip.PUBLISHED.value] += 1
        self._host.hub.count(GOSSIP_LABEL, "out", len(payload))
        self._relay(head + payload, self._host.peer_id)
        return True

    def connected(self, peer: PeerId) -> None:
        link = self._host.links.get(peer)
        if link is not None and self._host.nursery is not None:
            self._host.nursery.start_soon(self._open, link)

    def disconnected(self, peer: PeerId) -> None:
        self._streams.pop(peer, None)

    async def run(self) -> None:
        await trio.sleep_forever()

    async def _open(self, link: PeerLink) -> None:
        try:
            stream = link.session.open_stream(LOW)
            if await self._host.negotiator.select(stream, _FLOOD_PROTOCOL):
                self._streams[link.peer] = stream
        except StreamClosed:
            return

    def _relay(self, body: bytes, sender: PeerId) -> None:
        for peer in sorted(self._streams):
            stream = self._streams[peer]
            if peer != sender and not stream.is_dead and stream.out_messages < GOSSIP_PUBLISH_QUEUE:
                stream.write_nowait(frame(body))

    async def serve(self, link: PeerLink, stream: YamuxStream) -> None:
        """Read a peer's flood until it ends."""
        paced = Paced(stream)
        decoder = FrameDecoder(_MAX_NAME + GOSSIP_MAX_BYTES)
        while bodies := await paced.frames(decoder):
            for body in bodies:
                self._on_body(link.peer, body)

    def _on_body(self, neighbour: PeerId, body: bytes) -> None:
        topic, author = _TOPICS[body[0]], PeerId(body[1:53].decode())
        head, payload = body[:61], body[61:]
        if head in self._seen:
            return
        self._seen[head] = None
        while len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)
        hub = self._host.hub
        hub.count(GOSSIP_LABEL, "in", len(payload))
        if hub.judge_gossip(topic, author, neighbour, payload) is not Verdict.ACCEPT:
            return
        if not hub.inbox(topic).put_nowait(Message(neighbour, topic, payload, author)):
            hub.gossip[topic.value, Gossip.DROPPED.value] += 1
        self._relay(body, neighbour)
