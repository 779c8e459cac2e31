"""What every transport shares, whatever carries the bytes: permission, inboxes, handlers, bans and counters.

A transport is a `Hub` plus a way to move bytes. All of it runs in one trio thread.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from p2p.gate import PeerGate
from p2p.inbox import BoundedEvents, BoundedInbox
from p2p.transport import (
    Ban,
    Channel,
    DisconnectReason,
    Handler,
    Offence,
    PeerEvent,
    PeerEventKind,
    PeerId,
    Topic,
    TrafficCounters,
    Validator,
    Verdict,
)
from primitives.limits import CHANNEL_FRAME_BYTES, GOSSIP_MAX_BYTES

GOSSIP_LABEL: Final = "gossip"
REQUEST_LABEL: Final = "request"

_log = structlog.get_logger(__name__)

Disconnect = Callable[[PeerId, DisconnectReason], None]


def wall_clock_ms() -> int:
    """Milliseconds since 1970, for what people read."""
    return time.time_ns() // 1_000_000


class Hub:
    """The state that outlives any connection. `cut` closes a peer's connections now."""

    def __init__(self, peer_id: PeerId, cut: Disconnect) -> None:
        self.peer_id: Final = peer_id
        self.gate: Final = PeerGate()
        self.events: Final = BoundedEvents()
        self.handlers: Final[dict[str, Handler]] = {}
        self.validators: Final[dict[Topic, Validator]] = {}
        self.dropped_sends: Final[Counter[str]] = Counter()
        self.dial_failures: Final[Counter[str]] = Counter()
        self.refused_connections: Final[Counter[str]] = Counter()
        self.disconnects: Final[Counter[str]] = Counter()
        self.gossip: Final[Counter[tuple[str, str]]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()
        self._messages: Counter[tuple[str, str]] = Counter()
        self._inboxes: dict[Channel | Topic, BoundedInbox] = {
            source: BoundedInbox() for source in (*Channel, *Topic)
        }
        self._cut = cut

    # --- permission
    def now_ms(self) -> int:
        return wall_clock_ms()

    def refusal(self, peer: PeerId) -> DisconnectReason | None:
        """Why this peer may not be connected now; None if it may. A node never connects to itself."""
        if peer == self.peer_id:
            return DisconnectReason.NOT_PERMITTED
        return self.gate.refusal(peer, self.now_ms())

    def set_permitted(self, permitted: Mapping[PeerId, Sequence[str]], connected: Sequence[PeerId]) -> None:
        """Replace the permitted peers and cut those of `connected` that no longer are."""
        self.gate.set_permitted(permitted)
        for peer in connected:
            if not self.gate.is_permitted(peer):
                self._cut(peer, DisconnectReason.NOT_PERMITTED)

    def report(self, peer: PeerId, offence: Offence, detail: str = "") -> None:
        """Charge a peer; cut it if that earned a ban."""
        if self.gate.report(peer, offence, detail, self.now_ms()):
            _log.warning("peer_banned", peer=peer, offence=offence.name.lower(), detail=detail)
            self._cut(peer, DisconnectReason.BANNED)

    def ban(self, peer: PeerId, duration_ms: int, reason: str) -> None:
        """Keep a peer out for a while, as an operator wishes."""
        self.gate.ban(peer, duration_ms, reason, self.now_ms())
        self._cut(peer, DisconnectReason.BANNED)

    def bans(self) -> tuple[Ban, ...]:
        return self.gate.bans(self.now_ms())

    # --- what the node reads
    def inbox(self, source: Channel | Topic) -> BoundedInbox:
        return self._inboxes[source]

    def register_handler(self, method: str, handler: Handler) -> None:
        if method in self.handlers:
            raise ValueError(f"{method} has a handler already")
        self.handlers[method] = handler

    def subscribe(self, topic: Topic, validator: Validator) -> None:
        if topic in self.validators:
            raise ValueError(f"{topic} is subscribed already")
        self.validators[topic] = validator

    def connected(self, peer: PeerId) -> None:
        _log.info("peer_connected", peer=peer)
        self.events.put(PeerEvent(PeerEventKind.CONNECTED, peer))

    def disconnected(self, peer: PeerId, reason: DisconnectReason, detail: str = "") -> None:
        _log.info("peer_disconnected", peer=peer, reason=reason.value, detail=detail)
        self.disconnects[reason.value] += 1
        self.events.put(PeerEvent(PeerEventKind.DISCONNECTED, peer, reason))

    # --- what is judged in one way everywhere
    def judge_gossip(self, topic: Topic, author: PeerId, neighbour: PeerId, payload: bytes) -> Verdict:
        """The topic's validator, after the rules that need no knowledge of the payload: the author is known,
        the size is allowed. A rejected message costs the neighbour that relayed it."""
        validator = self.validators.get(topic)
        if validator is None or author == self.peer_id or not self.gate.is_permitted(author):
            verdict = Verdict.IGNORE
        elif len(payload) > GOSSIP_MAX_BYTES:
            verdict = Verdict.REJECT
        else:
            verdict = validator(neighbour, payload)
        self.gossip[topic.value, verdict.value.value] += 1
        if verdict is Verdict.REJECT:
            self.report(neighbour, Offence.INVALID_MESSAGE, f"gossip on {topic}")
        return verdict

    # --- figures
    def count(self, label: str, direction: str, size: int) -> None:
        """One message of `size` bytes went `in` or `out`."""
        self._bytes[label, direction] += size
        self._messages[label, direction] += 1

    def counters(self) -> TrafficCounters:
        return TrafficCounters(
            bytes_by_channel=dict(self._bytes),
            messages_by_channel=dict(self._messages),
            dial_failures=dict(self.dial_failures),
            refused_connections=dict(self.refused_connections),
            gossip=dict(self.gossip),
            dropped_sends=dict(self.dropped_sends),
            disconnects=dict(self.disconnects),
        )


def check_frame(channel: Channel, payload: bytes) -> None:
    """Raise `ValueError` for what no peer would take: an own mistake, not the network's."""
    limit = CHANNEL_FRAME_BYTES[channel.label]
    if len(payload) > limit:
        raise ValueError(f"a frame on {channel.label} has at most {limit} bytes, not {len(payload)}")


def check_gossip(hub: Hub, topic: Topic, payload: bytes) -> None:
    """Raise `ValueError` for what may not be published."""
    if topic not in hub.validators:
        raise ValueError(f"{topic} is not subscribed")
    if len(payload) > GOSSIP_MAX_BYTES:
        raise ValueError(f"gossip has at most {GOSSIP_MAX_BYTES} bytes, not {len(payload)}")
