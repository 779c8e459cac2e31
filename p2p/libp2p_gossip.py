"""Gossipsub 1.1 by libp2p's own router, with its defaults put right.

StrictSign only; heartbeat 1 s; the spam guard (10 messages a second a topic), the peer scorer (it punishes
the relayer of what we merely ignore), the equivocation map (1000 whole messages), adaptive and diversity
features off; sequence numbers that never repeat after a restart; no signed peer record in every message.
Delivery is in the synchronous validator, which the library calls exactly once a message. If the library's
service breaks all the same, it is started anew: gossip is lossy, the node lives on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Any, Final

import structlog
import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

from p2p.hub import GOSSIP_LABEL, Hub
from p2p.libp2p_streams import Connection, Multistream, StreamPipe
from p2p.link import PeerLink
from p2p.transport import Gossip, Message, PeerId, Topic, Verdict
from p2p.yamux_stream import LOW, StreamClosed, YamuxStream
from primitives.errors import DecodeError, DrexError, InvariantViolation, StorageFailure
from primitives.limits import GOSSIP_PUBLISH_QUEUE, MIB

_log = structlog.get_logger(__name__)

GOSSIP_PROTOCOL: Final = str(PROTOCOL_ID_V11)
_MAX_RPC_BYTES: Final = MIB
_HEARTBEAT_S: Final = 1
_SEEN_SECONDS: Final = 120
_DEGREE: Final = 6
_RESTART_SECONDS: Final = 1.0


_Command = Callable[[Pubsub], Awaitable[None]]


def topic_name(network: str, topic: Topic) -> str:
    """The topic on the wire: it names the network, so that two networks never mix."""
    return f"/drex/{network}/{topic.value}/1"


class _Router(GossipSub):  # type: ignore[misc]
    """The router without its parts that drop, keep or sign too much."""

    def __init__(self) -> None:
        super().__init__(
            protocols=[TProtocol(GOSSIP_PROTOCOL)],
            degree=_DEGREE,
            degree_low=4,
            degree_high=12,
            gossip_window=2,
            gossip_history=3,
            heartbeat_interval=_HEARTBEAT_S,
            prune_back_off=10,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
            max_pending_messages_per_peer=1,
        )
        self.scorer = None

    async def heartbeat(self) -> None:
        while True:
            try:
                await super().heartbeat()
            except Exception as error:
                _log.warning("gossip_heartbeat_broke", error=repr(error))
                await trio.sleep(_HEARTBEAT_S)

    def _check_equivocation(self, msg: rpc_pb2.Message) -> bool:
        return True

    def send_rpc(self, peer_id: ID, rpc: rpc_pb2.RPC, priority: bool = False) -> None:
        rpc.ClearField("senderRecord")
        super().send_rpc(peer_id, rpc, priority)

    async def publish(self, msg_forwarder: ID, pubsub_msg: rpc_pb2.Message) -> None:
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()  # grows by one a message and is read by nothing of ours
        self._pending_messages.clear()  # whole messages for peers that did not subscribe


class _Pubsub(Pubsub):  # type: ignore[misc]
    """Pubsub whose tasks survive whatever a message holds, and end with the connection that they are for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._registering: set[ID] = set()

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """The library registers a peer twice that comes back while the first time is under way, or one that
        is gone by then; the sending task of either waits for ever."""
        if peer_id in self._registering:
            return  # the other one tries again for as long as the peer is connected
        connections = self.host.get_network().connections
        connection = connections.get(peer_id)
        self._registering.add(peer_id)
        try:
            await super()._handle_new_peer(peer_id)
        finally:
            self._registering.discard(peer_id)
        if connections.get(peer_id) is not connection:
            self._handle_dead_peer(peer_id)  # registers it anew if it is connected again

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Nothing: the validator has delivered it already."""

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception as error:
            _log.warning("gossip_message_broke", peer=str(msg_forwarder), error=repr(error))


class _Network:
    """The little of libp2p's network that pubsub asks for."""

    def __init__(self) -> None:
        self.notifee: Any = None
        self.connections: dict[ID, Connection] = {}

    def register_notifee(self, notifee: Any) -> None:
        self.notifee = notifee

    async def notify(self, event: str, connection: Connection) -> None:
        await getattr(self.notifee, event)(self, connection)

    def get_connections(self, peer_id: ID) -> list[Connection]:
        connection = self.connections.get(peer_id)
        return [] if connection is None else [connection]


class GossipHost:
    """The little of libp2p's host that pubsub and identify ask for."""

    def __init__(
        self, seed: bytes, links: Callable[[PeerId], PeerLink | None], negotiator: Multistream
    ) -> None:
        self._pair: Final = create_new_key_pair(seed)
        self._id: Final = ID.from_pubkey(self._pair.public_key)
        self._links = links
        self._negotiator = negotiator
        self._peerstore: Any = PeerStore()
        self.network: Final = _Network()
        self.stream_handler: Any = None
        self.protocols: tuple[str, ...] = ()

    def get_network(self) -> _Network:
        return self.network

    def get_id(self) -> ID:
        return self._id

    def get_private_key(self) -> Any:
        return self._pair.private_key

    def get_public_key(self) -> Any:
        return self._pair.public_key

    def get_peerstore(self) -> Any:
        return self._peerstore

    def get_addrs(self) -> list[Any]:
        """None: addresses of peers are the ledger's, not gossip's."""
        return []

    def get_transport_addrs(self) -> list[Any]:
        return []

    def get_mux(self) -> Any:
        return self

    def get_protocols(self) -> tuple[str, ...]:
        """What identify tells: the protocols that we serve."""
        return self.protocols

    def set_stream_handler(self, protocol: TProtocol, handler: Any) -> None:
        self.stream_handler = handler

    async def new_stream(self, peer_id: ID, protocols: Iterable[TProtocol]) -> StreamPipe:
        link = self._links(PeerId(peer_id.to_base58()))
        connection = self.network.connections.get(peer_id)
        if link is None or connection is None:
            raise SwarmException("not connected")
        try:
            stream = link.session.open_stream(LOW)
            if not await self._negotiator.select(stream, GOSSIP_PROTOCOL):
                raise SwarmException("the peer does not gossip")
        except (StreamClosed, DecodeError) as error:
            raise SwarmException(str(error)) from None
        return StreamPipe(stream, _MAX_RPC_BYTES, GOSSIP_PROTOCOL, connection)


class GossipService:
    """Topics of one network over the links of one host."""

    def __init__(self, hub: Hub, network: str, host: GossipHost, reconnect: Callable[[], None]) -> None:
        self._hub = hub
        self._host = host
        self._reconnect = reconnect
        self._names = {topic: topic_name(network, topic) for topic in Topic}
        self._commands: deque[_Command] = deque()
        self._publishing = 0
        self._commanded = trio.Event()
        self._fatal: DrexError | None = None
        self.router: _Router | None = None

    # --- what the transport calls: never waits
    def subscribe(self, topic: Topic) -> None:
        """Join a topic; its validator is in the hub already."""
        self._command(lambda pubsub: self._join(pubsub, topic))

    def publish(self, topic: Topic, payload: bytes) -> bool:
        """Queue a message; False if `GOSSIP_PUBLISH_QUEUE` wait already."""
        if self._publishing >= GOSSIP_PUBLISH_QUEUE:
            self._hub.gossip[topic.value, Gossip.DROPPED.value] += 1
            return False
        self._publishing += 1
        self._command(lambda pubsub: self._publish(pubsub, topic, payload))
        return True

    def connected(self, peer: PeerId) -> None:
        """A link is ready: gossip may use it."""
        connection = Connection(peer)
        self._host.network.connections[connection.muxed_conn.peer_id] = connection
        self._command(lambda _: self._host.network.notify("connected", connection))

    def disconnected(self, peer: PeerId) -> None:
        """A link is gone."""
        connection = self._host.network.connections.pop(ID.from_base58(peer), None)
        if connection is not None:
            connection.muxed_conn.is_closed = True
            self._command(lambda _: self._host.network.notify("disconnected", connection))

    def _command(self, command: _Command) -> None:
        self._commands.append(command)
        self._commanded.set()

    # --- what runs
    async def serve(self, link: PeerLink, stream: YamuxStream) -> None:
        """Read a peer's gossip stream until it ends."""
        connection = self._host.network.connections.get(ID.from_base58(link.peer))
        if connection is None or self._host.stream_handler is None:
            return
        try:
            await self._host.stream_handler(StreamPipe(stream, _MAX_RPC_BYTES, GOSSIP_PROTOCOL, connection))
        except Exception as error:  # protobuf's and the router's own, none of them documented
            raise DecodeError(f"gossip: {type(error).__name__}") from None

    async def run(self) -> None:
        """Gossip until cancelled. A service that broke is replaced, and once the new one is up all peers are
        met anew: the old one's streams, and what the peers know of its topics, went with it."""
        up = _nothing
        while True:
            try:
                await self._run_service(up)
            except Exception as error:
                if self._fatal is not None:
                    raise self._fatal from None
                _log.error("gossip_service_broke", error=repr(error))
            await trio.sleep(_RESTART_SECONDS)
            for topic in self._hub.validators:
                self.subscribe(topic)
            up = self._reconnect

    async def _run_service(self, up: Callable[[], None]) -> None:
        router = self.router = _Router()
        pubsub = _Pubsub(
            self._host,
            router,
            strict_signing=True,
            seen_ttl=_SEEN_SECONDS,
            max_subscriptions_per_rpc=len(Topic),
            max_subscriptions_per_peer=len(Topic),
            max_inbound_rpc_size=_MAX_RPC_BYTES,
            allowed_topics=set(self._names.values()),
        )
        pubsub.counter = time.time_ns()  # the default, seconds, repeats numbers after a restart
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            up()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, pubsub)
                await pubsub.manager.wait_finished()
                nursery.cancel_scope.cancel()

    async def _obey(self, pubsub: Pubsub) -> None:
        while True:
            while self._commands:
                await self._commands.popleft()(pubsub)
                await trio.lowlevel.checkpoint()  # let the peers' writers empty their short queues
            self._commanded = trio.Event()
            await self._commanded.wait()
            if self._fatal is not None:
                raise self._fatal

    async def _join(self, pubsub: Pubsub, topic: Topic) -> None:
        name = self._names[topic]
        pubsub.set_topic_validator(name, lambda neighbour, msg: self._judge(topic, neighbour, msg), False)
        await pubsub.subscribe(name)

    async def _publish(self, pubsub: Pubsub, topic: Topic, payload: bytes) -> None:
        self._publishing -= 1
        await pubsub.publish(self._names[topic], payload)
        self._hub.gossip[topic.value, Gossip.PUBLISHED.value] += 1
        self._hub.count(GOSSIP_LABEL, "out", len(payload))

    def _judge(self, topic: Topic, neighbour: ID, msg: rpc_pb2.Message) -> bool:
        """The library's synchronous validator: judge and, if accepted, deliver."""
        sender, author = _peer_id(neighbour.to_bytes()), _peer_id(msg.from_id)
        if sender == self._hub.peer_id:
            return True  # our own, on its way out
        self._hub.count(GOSSIP_LABEL, "in", len(msg.data))
        try:
            verdict = self._hub.judge_gossip(topic, author, sender, msg.data)
        except (StorageFailure, InvariantViolation) as error:
            self._fatal = error  # must halt the node, past the library that would swallow it
            self._commanded.set()
            return False
        if verdict is not Verdict.ACCEPT:
            return False
        if not self._hub.inbox(topic).put_nowait(Message(sender, topic, msg.data, author)):
            self._hub.gossip[topic.value, Gossip.DROPPED.value] += 1
        return True


def _nothing() -> None:
    """The first service has no peers to meet anew."""


@lru_cache(maxsize=1024)
def _peer_id(data: bytes) -> PeerId:
    return PeerId(ID(data).to_base58())
