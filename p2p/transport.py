"""What a node may ask of the network, whatever carries it.

The promise: nothing here grows without bound, nothing blocks the caller but `Inbox.receive`,
`PeerEvents.receive` and `Transport.request`, and a flood on one channel never delays another. `p2p.host`
keeps it over libp2p, `p2p.memory` in one process. `docs/network.md` describes the wire.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Protocol

from p2p.identity import PeerId
from primitives.errors import DrexError

__all__ = [
    "Ban",
    "Channel",
    "Direction",
    "DisconnectReason",
    "Gossip",
    "Handler",
    "Inbox",
    "Message",
    "Offence",
    "PeerEvent",
    "PeerEventKind",
    "PeerEvents",
    "PeerId",
    "PeerInfo",
    "ProbeStage",
    "ProbeStep",
    "RequestCode",
    "RequestFailed",
    "RequestRefused",
    "Topic",
    "TrafficCounters",
    "Transport",
    "Validator",
    "Verdict",
]


class Channel(IntEnum):
    """A direct stream to one peer, and the inbox it ends in. Lower is more urgent."""

    CONSENSUS = 0
    TRANSACTIONS = 1
    BLOCKS = 2

    @property
    def label(self) -> str:
        """The name on the wire and in metrics: `consensus`, `transactions`, `blocks`."""
        return self.name.lower()


class Topic(StrEnum):
    """What is gossiped to the whole network. The wire name adds the network's name: see `docs/network.md`."""

    TRANSACTIONS = "transactions"
    HEADS = "heads"


class Direction(StrEnum):
    """Who dialled."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class DisconnectReason(StrEnum):
    """Why a connection ended, as this node sees it."""

    CLOSED_BY_PEER = "closed_by_peer"
    UNRESPONSIVE = "unresponsive"
    NOT_PERMITTED = "not_permitted"
    BANNED = "banned"
    PROTOCOL_VIOLATION = "protocol_violation"
    REQUESTED = "requested"
    DUPLICATE = "duplicate"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer at one moment."""

    peer_id: PeerId
    direction: Direction
    addresses: tuple[str, ...]
    connected_since_ms: int
    """Wall clock, milliseconds since 1970."""
    rtt_ms: float | None
    """Smoothed round trip of the last pings, `None` before the first answer."""
    score: int
    """Points of misbehaviour that have not yet decayed; at `BAN_SCORE` the peer is banned for a while."""
    queued_bytes: int
    """Bytes waiting to be written to this peer, over all channels."""


class PeerEventKind(Enum):
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class PeerEvent:
    """A peer came or went. `reason` is set when it went."""

    kind: PeerEventKind
    peer: PeerId
    reason: DisconnectReason | None = None


class Gossip(StrEnum):
    """What became of a gossiped message: the `result` label of `drex_gossip_messages_total`."""

    PUBLISHED = "published"
    ACCEPTED = "accepted"
    IGNORED = "ignored"
    REJECTED = "rejected"
    DROPPED = "dropped"


class Verdict(Enum):
    """A topic validator's answer. Only ACCEPT is delivered and relayed; REJECT costs the sender points."""

    ACCEPT = Gossip.ACCEPTED
    IGNORE = Gossip.IGNORED
    REJECT = Gossip.REJECTED


class Offence(IntEnum):
    """What a peer did, and the points it costs. Points decay; `BAN_SCORE` of them is a temporary ban."""

    UNSERVED = 2
    """Did not deliver what it must hold (a body it proposed, a range it announced)."""
    STALE = 1
    """Sent what it should have known to be old or repeated."""
    INVALID_MESSAGE = 20
    """Sent bytes that no honest node makes: does not decode, wrong signature, invalid transaction."""
    FLOODING = 10
    """Kept on past its budget."""
    LIED = 100
    """Served data contradicting a certificate, or its own announcement: banned at once."""


class ProbeStage(StrEnum):
    """The way to a peer, in order."""

    NAME = "name"
    """The host's name resolves."""
    TCP = "tcp"
    NOISE = "noise"
    """Somebody who speaks Noise answers."""
    IDENTITY = "identity"
    """It proves to be the expected peer."""
    PERMISSION = "permission"
    """This node permits it, and it admits this node."""


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """What came of one stage of the way."""

    stage: ProbeStage
    ok: bool
    detail: str
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class Ban:
    """A peer that is kept out for a while; `Transport.lift_ban` lets it in again."""

    peer: PeerId
    until_ms: int
    """Wall clock, milliseconds since 1970."""
    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """One payload as it arrived."""

    peer: PeerId
    """Who delivered it: the one to score. For gossip this is the neighbour, not the author."""
    source: Channel | Topic
    payload: bytes
    author: PeerId | None = None
    """For gossip, the peer whose signature the message carries."""


class RequestCode(StrEnum):
    NOT_CONNECTED = "not_connected"
    TIMEOUT = "timeout"
    BUSY = "busy"
    """The peer's answer to a request over its budget; try another peer or later."""
    UNKNOWN_METHOD = "unknown_method"
    REFUSED = "refused"
    """The peer's handler raised `RequestRefused` (its message is in `.message`)."""
    FAILED = "failed"
    """The peer's handler broke, or the peer broke the protocol."""
    TOO_LARGE = "too_large"
    DISCONNECTED = "disconnected"


class RequestFailed(DrexError):
    """`Transport.request` has no answer. `.code` is a `RequestCode`; `.data["peer"]` names the peer."""


class RequestRefused(Exception):
    """Raised by a handler to refuse a request with a sentence the asker may read."""


Handler = Callable[[PeerId, bytes], Awaitable[bytes]]
"""Answers a request. Runs under the peer's budget and the server's deadline; may raise `RequestRefused`."""

Validator = Callable[[PeerId, bytes], Verdict]
"""Judges a gossiped payload before it is relayed. Synchronous and cheap (≤ 100 µs): the event loop waits."""


class Inbox(Protocol):
    """Messages of one channel or topic. Bounded per peer: who fills its share waits, the others don't."""

    async def receive(self) -> list[Message]:
        """Wait for messages and take all that wait (≤ `INBOX_BATCH_MESSAGES`), in order of arrival."""

    def receive_nowait(self) -> list[Message]:
        """Take what waits, maybe nothing."""


class PeerEvents(Protocol):
    """Peers coming and going. Past `PEER_EVENTS_MAX` unread the oldest go; `peers()` is the truth."""

    async def receive(self) -> list[PeerEvent]:
        """Wait for at least one event and take all that wait, in order."""


@dataclass(frozen=True, slots=True)
class TrafficCounters:
    """Totals since start, for metrics. All maps are copies."""

    bytes_by_channel: Mapping[tuple[str, str], int]
    """`(channel, "in" | "out")` → bytes of frames. Channels: the labels of `Channel`, `request`, `gossip`."""
    messages_by_channel: Mapping[tuple[str, str], int]
    dial_failures: Mapping[str, int]
    """By reason: `name`, `refused`, `timeout`, `unreachable`, `handshake`, `identity`, `not_permitted` and
    `banned` (by this node), `not_admitted` (by the other), `other`."""
    refused_connections: Mapping[str, int]
    """Inbound, by reason: `not_permitted`, `banned`, `handshake`, `handshake_timeout`, `too_many`."""
    gossip: Mapping[tuple[str, str], int]
    """`(topic, Gossip)` → messages."""
    dropped_sends: Mapping[str, int]
    """By channel: sends answered False because the peer's queue was full."""
    disconnects: Mapping[str, int]
    """By `DisconnectReason`."""


class Transport(Protocol):
    """The network as one node sees it. Everything runs in the trio thread that opened it."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def listen_addresses(self) -> tuple[str, ...]:
        """Multiaddrs with `/p2p/<own id>`, the port being the real one even if 0 was asked for."""

    # --- peers
    def peers(self) -> tuple[PeerInfo, ...]:
        """Connected and permitted peers, ordered by id."""

    def is_connected(self, peer: PeerId) -> bool: ...

    @property
    def events(self) -> PeerEvents: ...

    def set_permitted(self, permitted: Mapping[PeerId, Sequence[str]]) -> None:
        """Replace the permitted peers and their known addresses (multiaddrs). Who is no longer in it is
        disconnected at once; who is new may connect from now on."""

    def add_persistent(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        """Keep a connection to this peer: dialled now and whenever it is lost, with jittered backoff. Empty
        `addresses` means those of `set_permitted`. A peer that is not permitted is not dialled."""

    def remove_persistent(self, peer: PeerId) -> None:
        """Stop dialling this peer; a live connection stays."""

    async def probe(self, address: str) -> list[ProbeStep]:
        """Walk the way to the peer of a multiaddr that ends in `/p2p/…`; the last step is the one that
        failed, or all are ok and the peer is connected. Raises `DecodeError` for another form of address."""

    def disconnect(self, peer: PeerId) -> None:
        """Close the connection now, whatever is being written. A persistent peer is dialled again."""

    def report(self, peer: PeerId, offence: Offence, detail: str = "") -> None:
        """Charge a peer for what it did; enough points ban it for a while and disconnect it."""

    def bans(self) -> tuple[Ban, ...]: ...

    def ban(self, peer: PeerId, duration_ms: int, reason: str) -> None: ...

    def lift_ban(self, peer: PeerId) -> bool:
        """True if there was one."""

    # --- direct messages
    def send(self, peer: PeerId, channel: Channel, payload: bytes) -> bool:
        """Queue for that peer. False, and nothing queued, if it is not connected or its queue is full (items
        or bytes). Order within a channel is kept. True does not mean delivered. Raises `ValueError` for a
        payload above the channel's frame limit."""

    def broadcast(self, peers: Iterable[PeerId], channel: Channel, payload: bytes) -> int:
        """`send` to each; how many took it."""

    def inbox(self, source: Channel | Topic) -> Inbox:
        """The one inbox of this channel or topic."""

    # --- gossip
    def subscribe(self, topic: Topic, validator: Validator) -> None:
        """Join a topic. Accepted payloads arrive in `inbox(topic)`. What is not subscribed is neither
        received nor relayed, and can't be published."""

    def publish(self, topic: Topic, payload: bytes) -> bool:
        """Queue for gossip to the whole network, this node excluded. False if the queue is full. Raises
        `ValueError` above `GOSSIP_MAX_BYTES`. Lossy by nature: whatever it carries must also be pullable."""

    # --- requests
    async def request(
        self, peer: PeerId, method: str, payload: bytes, *, timeout_s: float, max_response_bytes: int
    ) -> bytes:
        """Ask a peer. Raises `RequestFailed`. Cancelling is safe and tells the peer to stop."""

    def register_handler(self, method: str, handler: Handler) -> None:
        """Answer `method` (ASCII, ≤ 64 bytes). One handler a method."""

    # --- figures
    def counters(self) -> TrafficCounters: ...
