"""Bounded queues between the network and the node.

An inbox holds, per peer, at most `INBOX_PEER_MESSAGES` messages and `INBOX_PEER_BYTES` bytes, and in all
about `INBOX_TOTAL_BYTES`; a peer over its share waits (and with it its stream: back-pressure), the others do
not. A single message always fits an empty share, so nobody can be shut out by the others.
"""

from __future__ import annotations

from collections import deque

import trio

from p2p.transport import Message, PeerEvent, PeerId
from primitives.limits import (
    INBOX_BATCH_MESSAGES,
    INBOX_PEER_BYTES,
    INBOX_PEER_MESSAGES,
    INBOX_TOTAL_BYTES,
    PEER_EVENTS_MAX,
)


class BoundedInbox:
    """The inbox of one channel or topic. One reader, any number of writers."""

    def __init__(self, peer_bytes: int = INBOX_PEER_BYTES, total_bytes: int = INBOX_TOTAL_BYTES) -> None:
        self._peer_bytes = peer_bytes
        self._total_bytes = total_bytes
        self._queue: deque[Message] = deque()
        self._held: dict[PeerId, tuple[int, int]] = {}  # peer -> (messages, bytes)
        self._bytes = 0
        self._arrived = trio.Event()
        self._taken = trio.Event()

    def _has_room(self, message: Message) -> bool:
        held = self._held.get(message.peer)
        if held is None:
            return True
        messages, size = held
        added = len(message.payload)
        return (
            messages < INBOX_PEER_MESSAGES
            and size + added <= self._peer_bytes
            and self._bytes + added <= self._total_bytes
        )

    def put_nowait(self, message: Message) -> bool:
        """Queue it, or False if the peer's share is full."""
        if not self._has_room(message):
            return False
        messages, size = self._held.get(message.peer, (0, 0))
        self._held[message.peer] = (messages + 1, size + len(message.payload))
        self._bytes += len(message.payload)
        self._queue.append(message)
        self._arrived.set()
        return True

    async def put(self, message: Message) -> None:
        """Queue it, waiting while the peer's share is full. Cancelled, nothing was queued."""
        while not self.put_nowait(message):
            await self._taken.wait()

    async def receive(self) -> list[Message]:
        """Wait for messages and take all that wait, at most `INBOX_BATCH_MESSAGES`, in order of arrival."""
        while not self._queue:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self.receive_nowait()

    def receive_nowait(self) -> list[Message]:
        """Take what waits, maybe nothing."""
        count = min(len(self._queue), INBOX_BATCH_MESSAGES)
        taken = [self._queue.popleft() for _ in range(count)]
        for message in taken:
            messages, size = self._held[message.peer]
            if messages == 1:
                del self._held[message.peer]
            else:
                self._held[message.peer] = (messages - 1, size - len(message.payload))
            self._bytes -= len(message.payload)
        if taken:
            self._taken.set()
            self._taken = trio.Event()
        return taken

    @property
    def queued_bytes(self) -> int:
        return self._bytes


class BoundedEvents:
    """Peers coming and going, for one reader; past `PEER_EVENTS_MAX` the oldest give way."""

    def __init__(self) -> None:
        self._queue: deque[PeerEvent] = deque(maxlen=PEER_EVENTS_MAX)
        self._arrived = trio.Event()

    def put(self, event: PeerEvent) -> None:
        self._queue.append(event)
        self._arrived.set()

    async def receive(self) -> list[PeerEvent]:
        """Wait for at least one event and take all that wait, in order."""
        while not self._queue:
            self._arrived = trio.Event()
            await self._arrived.wait()
        taken = list(self._queue)
        self._queue.clear()
        return taken
