"""The yamux multiplexer, spec `hashicorp/yamux` version 0, as libp2p speaks it (`/yamux/1.0.0`).

It promises what the stock one does not: a peer that writes past its window, opens streams without end,
floods pings or never reads is cut off, so a connection holds at most its streams' windows; the writer never
polls; an urgent stream's bytes go before all others', batch by batch. Knows no libp2p: it runs over any
`SecureChannel`. docs/decisions/ has what was measured.

Two tasks own the wire: one reader, one writer. `write` and `read` only touch queues, so cancelling them is
safe; nothing cancels a write in the middle but the end of the session.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import trio

from p2p.budget import TokenBucket
from p2p.transport import DisconnectReason
from p2p.yamux_stream import INITIAL_WINDOW, NORMAL, StreamClosed, YamuxStream
from primitives.limits import (
    BUDGET_PINGS_BURST,
    BUDGET_PINGS_PER_SECOND,
    BUDGET_STREAMS_BURST,
    BUDGET_STREAMS_PER_SECOND,
    MAX_PEER_STREAMS,
    PING_INTERVAL_SECONDS,
    PING_MISSES,
    YAMUX_BATCH_BYTES,
    YAMUX_CONTROL_BYTES,
    YAMUX_WINDOW_BYTES,
)

_HEADER: Final = struct.Struct("!BBHII")
_DATA, _WINDOW_UPDATE, _PING, _GO_AWAY = range(4)
_SYN, _ACK, _FIN, _RST = 1, 2, 4, 8
_MAX_WINDOW: Final = 2**32 - 1
_LOW_TURNS: Final = 4
"""While both wait, one batch in so many goes to the least urgent streams, so that nothing starves."""

_MIN_DATA: Final = 4096
"""A batch with less room than this is sent as it is, rather than with a crumb of data at its end."""


class ChannelClosed(Exception):
    """The channel below is gone, whoever closed it."""


class SecureChannel(Protocol):
    """An authenticated, encrypted byte pipe."""

    async def receive(self) -> bytes:
        """Some bytes, never none. Raises `ChannelClosed`."""

    async def send(self, data: bytes) -> None:
        """Write all (≤ `YAMUX_BATCH_BYTES`). Raises `ChannelClosed`. It need not be a checkpoint."""

    def kill(self) -> None:
        """Close the socket at once; both directions then raise."""


class _Violation(Exception):
    """The peer broke the protocol; the sentence says how."""


class YamuxSession:
    """One connection's streams. `run` owns the wire and returns the reason it ended."""

    def __init__(
        self, channel: SecureChannel, *, initiator: bool, on_stream: Callable[[YamuxStream], None]
    ) -> None:
        now_s = trio.current_time()
        self._channel = channel
        self._on_stream = on_stream
        self._next_id = 1 if initiator else 2
        self._peer_parity = 0 if initiator else 1
        self._highest_peer_id = 0
        self._streams: dict[int, YamuxStream] = {}
        self._inbound_count = 0
        self._ready: tuple[deque[YamuxStream], ...] = (deque(), deque(), deque())
        self._turn = 0
        self._control = bytearray()
        self._wake = trio.Event()
        self._stream_budget = TokenBucket(BUDGET_STREAMS_PER_SECOND, BUDGET_STREAMS_BURST, now_s)
        self._ping_budget = TokenBucket(BUDGET_PINGS_PER_SECOND, BUDGET_PINGS_BURST, now_s)
        self._body_left = 0
        self._body_stream: YamuxStream | None = None
        self._ping_id = 0
        self._ping_sent_s: float | None = None
        self._heard_s = self._sending_since_s = now_s
        self._sending = False
        self._reason: DisconnectReason | None = None
        self._scope = trio.CancelScope()
        self.detail = ""
        self.rtt_s: float | None = None
        self.bytes_in = self.bytes_out = 0

    # --- life
    @property
    def is_closed(self) -> bool:
        return self._reason is not None

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    @property
    def queued_bytes(self) -> int:
        return sum(stream.out_bytes for stream in self._streams.values())

    async def run(self) -> DisconnectReason:
        """Move bytes until the session ends, by either side. Never raises for anything a peer does."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_loop)
                    nursery.start_soon(self._write_loop)
                    nursery.start_soon(self._ping_loop)
        finally:
            self.close(DisconnectReason.SHUTDOWN)
        assert self._reason is not None  # close() has set it
        return self._reason

    def close(self, reason: DisconnectReason, detail: str = "") -> None:
        """End the session now: the socket closes, streams die, `run` returns the first reason given."""
        if self._reason is not None:
            return
        self._reason = reason
        self.detail = detail
        self._channel.kill()
        self._scope.cancel()
        for stream in list(self._streams.values()):
            stream.drop()
        self._streams.clear()

    # --- streams
    def open_stream(self, priority: int) -> YamuxStream:
        """Open a stream, usable at once (the peer may still refuse it). Raises `StreamClosed`."""
        if self.is_closed:
            raise StreamClosed("the session is over")
        stream = YamuxStream(self, self._next_id, inbound=False, priority=priority)
        self._next_id += 2
        self._streams[stream.stream_id] = stream
        self._send_control(_WINDOW_UPDATE, _SYN, stream.stream_id, YAMUX_WINDOW_BYTES - INITIAL_WINDOW)
        return stream

    def mark_ready(self, stream: YamuxStream) -> None:
        if not stream.queued and (stream.send_window > 0 or stream.fin_sent):
            stream.queued = True
            self._ready[stream.priority].append(stream)
            self._wake.set()

    def credit(self, stream: YamuxStream, amount: int) -> None:
        if not self.is_closed and not stream.reset_seen:
            stream.receive_window += amount
            self._send_control(_WINDOW_UPDATE, 0, stream.stream_id, amount)

    def reset_stream(self, stream: YamuxStream) -> None:
        if not self.is_closed:
            self._send_control(_WINDOW_UPDATE, _RST, stream.stream_id, 0)
        self._forget(stream)
        stream.drop()

    def _forget(self, stream: YamuxStream) -> None:
        if self._streams.pop(stream.stream_id, None) is not None and stream.inbound:
            self._inbound_count -= 1

    def _send_control(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        self._control += _HEADER.pack(0, kind, flags, stream_id, length)
        if len(self._control) > YAMUX_CONTROL_BYTES:
            self.close(DisconnectReason.UNRESPONSIVE, "it does not read what it asks for")
        self._wake.set()

    # --- the writer
    async def _write_loop(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                self._wake = trio.Event()
                await self._wake.wait()
                continue
            self._sending_since_s = trio.current_time()
            self._sending = True
            try:
                await self._channel.send(batch)
            except ChannelClosed:
                self.close(DisconnectReason.CLOSED_BY_PEER)
                return
            self._sending = False
            self.bytes_out += len(batch)
            if len(batch) >= _MIN_DATA:  # a small one leaves without a turn of the event loop
                await trio.lowlevel.checkpoint()

    def _next_batch(self) -> bytes:
        """Control frames, then streams by urgency, until the batch is full. Empty when nothing may go."""
        if not self._control and not any(self._ready):
            return b""
        batch = self._control[:YAMUX_BATCH_BYTES]
        del self._control[: len(batch)]
        urgent, normal, low = self._ready
        self._turn = (self._turn + 1) % _LOW_TURNS
        order = (urgent, low, normal) if self._turn == 0 else (urgent, normal, low)
        for queue in order:
            while queue and len(batch) < YAMUX_BATCH_BYTES - _MIN_DATA:
                self._serve(queue.popleft(), batch)
        return bytes(batch)

    def _serve(self, stream: YamuxStream, batch: bytearray) -> None:
        stream.queued = False
        if stream.reset_seen:
            return
        data = stream.take(YAMUX_BATCH_BYTES - len(batch) - _HEADER.size)
        if data:
            batch += _HEADER.pack(0, _DATA, 0, stream.stream_id, len(data))
            batch += data
        if stream.out_bytes:
            if stream.send_window:
                self.mark_ready(stream)
        elif stream.fin_sent and len(batch) + _HEADER.size <= YAMUX_BATCH_BYTES:
            batch += _HEADER.pack(0, _WINDOW_UPDATE, _FIN, stream.stream_id, 0)
            if stream.fin_received:
                self._forget(stream)
        elif stream.fin_sent:
            self.mark_ready(stream)

    # --- the reader
    async def _read_loop(self) -> None:
        pending = bytearray()
        try:
            while True:
                pending += await self._channel.receive()
                self._heard_s = trio.current_time()
                self._consume(pending)
        except ChannelClosed:
            self.close(DisconnectReason.CLOSED_BY_PEER)
        except _Violation as violation:
            self.close(DisconnectReason.PROTOCOL_VIOLATION, str(violation))

    def _consume(self, pending: bytearray) -> None:
        """Handle all whole headers in `pending`, pass bodies on in pieces, leave a partial header."""
        self.bytes_in += len(pending)
        position, end = 0, len(pending)
        while position < end and not self.is_closed:
            if self._body_left:
                take = min(self._body_left, end - position)
                if self._body_stream is not None and not self._body_stream.reset_seen:
                    self._body_stream.deliver(bytes(pending[position : position + take]))
                self._body_left -= take
                position += take
                continue
            if end - position < _HEADER.size:
                break
            self._on_header(*_HEADER.unpack_from(pending, position))
            position += _HEADER.size
        del pending[:position]
        self.bytes_in -= len(pending)

    def _on_header(self, version: int, kind: int, flags: int, stream_id: int, length: int) -> None:
        if version != 0:
            raise _Violation(f"yamux version {version}")
        if kind == _PING:
            self._on_ping(flags, length)
        elif kind in (_DATA, _WINDOW_UPDATE):
            self._on_stream_frame(kind, flags, stream_id, length)
        elif kind == _GO_AWAY:
            self.close(DisconnectReason.CLOSED_BY_PEER, f"go-away {length}")
        else:
            raise _Violation(f"yamux frame of unknown type {kind}")

    def _on_stream_frame(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        stream = self._accept(stream_id) if flags & _SYN else self._streams.get(stream_id)
        if kind == _DATA:
            self._body_left, self._body_stream = length, stream
        if stream is None:
            self._check_known(stream_id, flags)
            return
        if kind == _DATA:
            stream.receive_window -= length
            if stream.receive_window < 0 or stream.fin_received:
                raise _Violation(
                    "wrote past its window" if stream.receive_window < 0 else "wrote after closing"
                )
        else:
            stream.send_window += length
            if stream.send_window > _MAX_WINDOW:
                raise _Violation("its window overflowed")
            if stream.out_bytes:
                self.mark_ready(stream)
        if flags & _RST:
            self._forget(stream)
            stream.drop()
        elif flags & _FIN:
            stream.fin_received = True
            stream.wake()
            if stream.fin_sent and not stream.out_bytes and not stream.queued:
                self._forget(stream)

    def _accept(self, stream_id: int) -> YamuxStream | None:
        """A new stream of the peer's, or None if it has too many (refused with a reset)."""
        if stream_id == 0 or stream_id % 2 != self._peer_parity or stream_id in self._streams:
            raise _Violation(f"opened stream {stream_id}, which it may not")
        self._highest_peer_id = max(self._highest_peer_id, stream_id)  # openings may overtake each other
        if not self._stream_budget.try_take(1, trio.current_time()):
            raise _Violation("opens streams without end")
        if self._inbound_count >= MAX_PEER_STREAMS:
            self._send_control(_WINDOW_UPDATE, _RST, stream_id, 0)
            return None
        stream = YamuxStream(self, stream_id, inbound=True, priority=NORMAL)
        self._streams[stream_id] = stream
        self._inbound_count += 1
        self._send_control(_WINDOW_UPDATE, _ACK, stream_id, YAMUX_WINDOW_BYTES - INITIAL_WINDOW)
        self._on_stream(stream)
        return stream

    def _check_known(self, stream_id: int, flags: int) -> None:
        """Frames of a stream that we forgot are skipped; of one that never was, a violation."""
        if flags & _SYN:
            return
        ours = stream_id % 2 != self._peer_parity
        if stream_id == 0 or stream_id > (self._next_id if ours else self._highest_peer_id):
            raise _Violation(f"spoke of stream {stream_id}, which never was")

    # --- pings
    def _on_ping(self, flags: int, value: int) -> None:
        if flags & _SYN:
            if not self._ping_budget.try_take(1, trio.current_time()):
                raise _Violation("pings without end")
            self._send_control(_PING, _ACK, 0, value)
        elif flags & _ACK and value == self._ping_id and self._ping_sent_s is not None:
            sample_s = trio.current_time() - self._ping_sent_s
            self.rtt_s = sample_s if self.rtt_s is None else 0.75 * self.rtt_s + 0.25 * sample_s
            self._ping_sent_s = None

    async def _ping_loop(self) -> None:
        """Ping at a steady pace; a peer silent for `PING_MISSES` of them, or that lets a write wait as long,
        is gone."""
        patience_s = PING_INTERVAL_SECONDS * PING_MISSES
        while True:
            now_s = trio.current_time()
            if now_s - self._heard_s > patience_s:
                self.close(DisconnectReason.UNRESPONSIVE, "it answers no ping")
            elif self._sending and now_s - self._sending_since_s > patience_s:
                self.close(DisconnectReason.UNRESPONSIVE, "it does not read")
            self._ping_id = (self._ping_id + 1) % 2**32
            self._ping_sent_s = trio.current_time()
            self._send_control(_PING, _SYN, 0, self._ping_id)
            await trio.sleep(PING_INTERVAL_SECONDS)
