"""One yamux stream: two bounded queues and two windows. The session owns the wire and calls in here.

`write` and `read` only touch queues, so cancelling them is safe. Reading gives window back to the peer, so a
reader that pauses stops its own stream and no other.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

import trio

from primitives.limits import YAMUX_WINDOW_BYTES

INITIAL_WINDOW: Final = 256 * 1024
"""What either side may send before it hears of more, by the specification."""

URGENT, NORMAL, LOW = 0, 1, 2


class StreamClosed(Exception):
    """Reading or writing a stream that was reset, closed, or whose session is over."""


class Session(Protocol):
    """What a stream asks of its session. Nothing here waits."""

    @property
    def is_closed(self) -> bool: ...

    def mark_ready(self, stream: YamuxStream) -> None:
        """It has something to send."""

    def credit(self, stream: YamuxStream, amount: int) -> None:
        """So many bytes were read: tell the peer."""

    def reset_stream(self, stream: YamuxStream) -> None:
        """Drop it on both sides."""


class YamuxStream:
    """One stream. Reading gives back window to the peer; writing queues."""

    __slots__ = (
        "_arrived",
        "_in",
        "_in_bytes",
        "_offset",
        "_out",
        "_room",
        "_session",
        "_uncredited",
        "fin_received",
        "fin_sent",
        "inbound",
        "out_bytes",
        "priority",
        "queued",
        "receive_window",
        "reset_seen",
        "send_window",
        "stream_id",
    )

    def __init__(self, session: Session, stream_id: int, *, inbound: bool, priority: int) -> None:
        self._session = session
        self.stream_id = stream_id
        self.inbound = inbound
        self.priority = priority
        self.send_window = INITIAL_WINDOW
        self.receive_window = YAMUX_WINDOW_BYTES
        self.fin_sent = self.fin_received = self.reset_seen = False
        self.queued = False  # in the session's ready queue
        self.out_bytes = 0
        self._out: deque[bytes] = deque()
        self._offset = 0
        self._room = trio.Event()
        self._in: deque[bytes] = deque()
        self._in_bytes = 0
        self._uncredited = 0
        self._arrived = trio.Event()

    @property
    def out_messages(self) -> int:
        """Writes not yet wholly on the wire."""
        return len(self._out)

    @property
    def is_dead(self) -> bool:
        """Nothing can be written any more."""
        return self.reset_seen or self.fin_sent or self._session.is_closed

    def write_nowait(self, data: bytes) -> None:
        """Queue `data`, whatever waits already: the caller bounds by `out_messages` and `out_bytes`."""
        if self.is_dead:
            raise StreamClosed("the stream is closed for writing")
        if data:
            self._out.append(data)
            self.out_bytes += len(data)
            self._session.mark_ready(self)

    async def write(self, data: bytes) -> None:
        """Queue `data` once less than a window waits before it. Raises `StreamClosed`."""
        while self.out_bytes >= YAMUX_WINDOW_BYTES and not self.is_dead:
            await self._wait_for_room()
        self.write_nowait(data)

    async def drain(self) -> None:
        """Wait until everything queued is on the wire. Raises `StreamClosed` if that can't be."""
        while self._out:
            if self.reset_seen or self._session.is_closed:
                raise StreamClosed("the stream died with bytes unsent")
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        """Wait for the next time that bytes leave. Many may wait."""
        if self._room.is_set():
            self._room = trio.Event()
        await self._room.wait()

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, at most `max_bytes`; empty at the end of the stream. Raises `StreamClosed`."""
        while not self._in:
            if self.reset_seen or self._session.is_closed:
                raise StreamClosed("the stream was reset")
            if self.fin_received:
                return b""
            self._arrived = trio.Event()
            await self._arrived.wait()
        piece = self._in.popleft()
        if max_bytes is not None and len(piece) > max_bytes:
            self._in.appendleft(piece[max_bytes:])
            piece = piece[:max_bytes]
        self._in_bytes -= len(piece)
        self._uncredited += len(piece)
        if self._uncredited >= YAMUX_WINDOW_BYTES // 2 and not self.fin_received:
            self._session.credit(self, self._uncredited)
            self._uncredited = 0
        return piece

    def close_write(self) -> None:
        """Say that nothing more comes. What is queued still goes out first."""
        if not self.is_dead:
            self.fin_sent = True
            self._session.mark_ready(self)

    def reset(self) -> None:
        """Drop the stream, both directions, now."""
        if not self.reset_seen:
            self._session.reset_stream(self)

    # --- called by the session only
    def take(self, limit: int) -> bytes:
        """Up to `limit` queued bytes, within the send window."""
        limit = min(limit, self.send_window)
        parts: list[bytes] = []
        size = 0
        while self._out and size < limit:
            head = self._out[0]
            available = len(head) - self._offset
            if available <= limit - size:
                parts.append(head[self._offset :] if self._offset else head)
                self._out.popleft()
                self._offset = 0
                size += available
            else:
                parts.append(head[self._offset : self._offset + limit - size])
                self._offset += limit - size
                size = limit
        self.send_window -= size
        self.out_bytes -= size
        self._room.set()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def deliver(self, piece: bytes) -> None:
        self._in.append(piece)
        self._in_bytes += len(piece)
        self._arrived.set()

    def wake(self) -> None:
        """Let readers and writers see a changed state."""
        self._arrived.set()
        self._room.set()

    def drop(self) -> None:
        """Forget all that is queued: the stream is dead."""
        self.reset_seen = True
        self._out.clear()
        self.out_bytes = 0
        self._in.clear()
        self._in_bytes = 0
        self.wake()
