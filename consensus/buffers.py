"""Bounded memory for messages of heights that are not being worked on.

Messages for the next heights are charged to the authenticated peer that delivered them, so that a flooder
evicts only its own. Answers to laggards are limited to one per peer, height and second.
"""

from __future__ import annotations

from collections import deque

from consensus.inputs import PeerId
from consensus.messages import Vote
from primitives.limits import (
    CONSENSUS_FUTURE_BYTES_PER_PEER,
    CONSENSUS_FUTURE_HEIGHTS,
    CONSENSUS_FUTURE_MESSAGES_PER_PEER,
    CONSENSUS_LAGGARD_ANSWERS,
    CONSENSUS_MAX_PEERS,
)

_Entry = tuple[int, int, Vote]  # arrival number, bytes, message


class _PeerShelf:
    """What one peer delivered for later, oldest first."""

    __slots__ = ("entries", "size_bytes")

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()
        self.size_bytes = 0


class FutureBuffer:
    """Messages for the next heights, at most a fixed number and size per delivering peer."""

    def __init__(self) -> None:
        self._shelves: dict[PeerId, _PeerShelf] = {}
        self._arrivals = 0

    def add(self, peer: PeerId, message: Vote, size_bytes: int) -> None:
        """Keep a message; the peer's oldest go when its share is full. A peer too many is not kept."""
        shelf = self._shelves.get(peer)
        if shelf is None:
            if len(self._shelves) >= CONSENSUS_MAX_PEERS:
                return
            shelf = self._shelves[peer] = _PeerShelf()
        self._arrivals += 1
        shelf.entries.append((self._arrivals, size_bytes, message))
        shelf.size_bytes += size_bytes
        while (
            len(shelf.entries) > CONSENSUS_FUTURE_MESSAGES_PER_PEER
            or shelf.size_bytes > CONSENSUS_FUTURE_BYTES_PER_PEER
        ):
            shelf.size_bytes -= shelf.entries.popleft()[1]

    def take(self, height: int) -> list[tuple[PeerId, Vote]]:
        """Remove and return the messages of `height` in order of arrival; those below it are dropped."""
        due: list[tuple[int, PeerId, Vote]] = []
        for peer, shelf in list(self._shelves.items()):
            kept: deque[_Entry] = deque()
            for entry in shelf.entries:
                arrival, size_bytes, message = entry
                if message.height > height:
                    kept.append(entry)
                    continue
                shelf.size_bytes -= size_bytes
                if message.height == height:
                    due.append((arrival, peer, message))
            if kept:
                shelf.entries = kept
            else:
                del self._shelves[peer]
        due.sort(key=lambda item: item[0])
        return [(peer, message) for _, peer, message in due]

    def __len__(self) -> int:
        return sum(len(shelf.entries) for shelf in self._shelves.values())

    @staticmethod
    def reaches(current: int, height: int) -> bool:
        """True when a message for `height` is kept while `current` is being worked on."""
        return current < height <= current + CONSENSUS_FUTURE_HEIGHTS


class LaggardAnswers:
    """Which (peer, height) was answered in this second; bounded, forgets all at once."""

    def __init__(self) -> None:
        self._answered: set[tuple[PeerId, int]] = set()

    def permit(self, peer: PeerId, height: int) -> bool:
        """True when the peer may be answered for this height now, and counts it."""
        key = (peer, height)
        if key in self._answered or len(self._answered) >= CONSENSUS_LAGGARD_ANSWERS:
            return False
        self._answered.add(key)
        return True

    def reset(self) -> None:
        """A second is over."""
        self._answered.clear()
