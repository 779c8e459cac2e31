"""Bounded queues between the network and the node.

An inbox holds, per peer, at most `INBOX_PEER_MESSAGES` messages and `INBOX_PEER_BYTES` bytes, and in all
about `INBOX_TOTAL_BYTES`; a peer over its share waits (and with it its stream: back-pressure), the others do
not. A single message always fits an empty share, so nobody can be shut out by the others. The reader takes
one message of each peer in turn, and little at a time, so that nobody waits behind what another has queued.
"""

from __future__ import annotations

from collections import deque

import trio

from p2p.transport import Message, PeerEvent, PeerId
from primitives.limits import (
    INBOX_BATCH_BYTES,
    INBOX_BATCH_MESSAGES,
    INBOX_PEER_BYTES,
    INBOX_PEER_MESSAGES,
    INBOX_TOTAL_BYTES,
    PEER_EVENTS_MAX,
)


class BoundedInbox:
    """The inbox of one channel or topic. One reader, any number of writers. A peer's messages keep order."""

    def __init__(self, peer_bytes: int = INBOX_PEER_BYTES, total_bytes: int = INBOX_TOTAL_BYTES) -> None:
        self._peer_bytes = peer_bytes
        self._total_bytes = total_bytes
        self._queues: dict[PeerId, deque[Message]] = {}  # never an empty one
        self._turns: deque[PeerId] = deque()  # those with a queue, whose turn it is first
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
        queue = self._queues.get(message.peer)
        if queue is None:
            queue = self._queues[message.peer] = deque()
            self._turns.append(message.peer)
        queue.append(message)
        self._arrived.set()
        return True

    async def put(self, message: Message) -> None:
        """Queue it, waiting while the peer's share is full. Cancelled, nothing was queued."""
        while not self.put_nowait(message):
            await self._taken.wait()

    async def receive(self) -> list[Message]:
        """Wait for messages and take what waits, of each peer in turn: `INBOX_BATCH_MESSAGES` at most, and
        none beyond `INBOX_BATCH_BYTES` but the first."""
        while not self._turns:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self.receive_nowait()

    def receive_nowait(self) -> list[Message]:
        """Take what waits, maybe nothing."""
        taken: list[Message] = []
        room = INBOX_BATCH_BYTES
        while self._turns and len(taken) < INBOX_BATCH_MESSAGES:
            queue = self._queues[self._turns[0]]
            room -= len(queue[0].payload)
            if taken and room < 0:
                break
            taken.append(queue.popleft())
            if queue:
                self._turns.rotate(-1)
            else:
                del self._queues[self._turns.popleft()]
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
