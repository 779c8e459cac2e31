"""When to tell others about a new head: at once where it counts, seldom elsewhere. Time is a parameter.

Direct announcements go to peers that follow the chain without deciding it. The proposer of a block tells them
at once; everyone else at most every `HEAD_REPEAT_MS` to one peer, and never a peer that has the block. Gossip
is a second way among those who follow: who notices that nobody gossiped a head for `HEAD_REPEAT_MS` does, so
that the whole network carries about one such message in `HEAD_GOSSIP_MS`, however many blocks there are.
"""

from __future__ import annotations

from collections.abc import Collection

from p2p.transport import PeerId
from primitives.limits import HEAD_GOSSIP_MS, HEAD_REPEAT_MS


class DirectPacer:
    """Who is told about the head now, and who later."""

    def __init__(self) -> None:
        self._sent_ms: dict[PeerId, int] = {}
        self._sent_height: dict[PeerId, int] = {}

    def due(self, followers: Collection[PeerId], height: int, now_ms: int, *, at_once: bool) -> list[PeerId]:
        """Who of `followers`, who lack the block at `height`, is told now. `at_once`: it is the own one."""
        due = [
            peer
            for peer in followers
            if self._sent_height.get(peer, -1) < height
            and (at_once or now_ms - self._sent_ms.get(peer, -HEAD_REPEAT_MS) >= HEAD_REPEAT_MS)
        ]
        for peer in due:
            self._sent_ms[peer], self._sent_height[peer] = now_ms, height
        return due

    def forget(self, peer: PeerId) -> None:
        self._sent_ms.pop(peer, None)
        self._sent_height.pop(peer, None)


class GossipPacer:
    """Whether a node that listens to gossip publishes its head now: only into silence."""

    def __init__(self) -> None:
        self._published_ms = -HEAD_GOSSIP_MS
        self._heard_ms = -HEAD_GOSSIP_MS
        self._known_height = 0  # gossiped by anyone, this node included
        self._height = 0
        self._since_ms = 0  # when the first block became final that nobody gossiped

    def new_head(self, height: int, now_ms: int) -> None:
        """`height` became final here."""
        if not self._waits:
            self._since_ms = now_ms
        self._height = height

    def heard(self, height: int, now_ms: int) -> None:
        """Somebody gossiped a head."""
        self._known_height, self._heard_ms = max(self._known_height, height), now_ms

    def is_due(self, now_ms: int, jitter_ms: int) -> bool:
        """True if the head is to be published now; it then counts as published. `jitter_ms` (of this node,
        below `HEAD_REPEAT_MS`) keeps nodes that noticed the same silence from breaking it all at once."""
        since_any_ms = now_ms - max(self._heard_ms, self._published_ms)
        has_waited = now_ms - self._since_ms >= HEAD_REPEAT_MS + jitter_ms
        if not self._waits or since_any_ms < HEAD_GOSSIP_MS or not has_waited:
            return False
        self._known_height, self._published_ms = self._height, now_ms
        return True

    @property
    def _waits(self) -> bool:
        return self._height > self._known_height
