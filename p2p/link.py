"""One connected peer: its direct streams and its request stream over one yamux session.

Each side opens one stream a `Channel` and one for its own requests, and writes only on these (answers come
back on the asker's request stream). A link is ready when its own streams were agreed on or refused; only then
is handed on what the peer sends. One writer, the session's, serves all queues: consensus first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import structlog
import trio

from p2p.budget import TokenBucket
from p2p.framing import FrameDecoder, frame
from p2p.hub import REQUEST_LABEL, Hub
from p2p.requests import REQUEST_FRAME_BYTES, RESPONSE_FRAME_BYTES, Asker, Server
from p2p.transport import (
    Channel,
    Direction,
    DisconnectReason,
    Message,
    Offence,
    PeerId,
    PeerInfo,
    RequestCode,
)
from p2p.yamux import SecureChannel, YamuxSession
from p2p.yamux_stream import LOW, NORMAL, URGENT, StreamClosed, YamuxStream
from primitives.errors import DecodeError, InvariantViolation, StorageFailure
from primitives.limits import (
    BUDGET_BYTES_BURST,
    BUDGET_BYTES_PER_SECOND,
    BUDGET_MESSAGES_BURST,
    BUDGET_MESSAGES_PER_SECOND,
    CHANNEL_FRAME_BYTES,
    HANDSHAKE_SECONDS,
    SEND_QUEUE_BYTES,
    SEND_QUEUE_MESSAGES,
)

PROTOCOLS: Final = {channel: f"/drex/{channel.label}/1" for channel in Channel}
REQUEST_PROTOCOL: Final = "/drex/request/1"
_CHANNELS: Final = {protocol: channel for channel, protocol in PROTOCOLS.items()}
_PRIORITIES: Final = {Channel.CONSENSUS: URGENT, Channel.TRANSACTIONS: NORMAL, Channel.BLOCKS: LOW}

_log = structlog.get_logger(__name__)


class Negotiator(Protocol):
    """How two sides agree on what a new stream speaks."""

    async def select(self, stream: YamuxStream, protocol: str) -> bool:
        """As its opener: false if the peer does not speak it. Raises `StreamClosed`, `DecodeError`."""

    async def accept(self, stream: YamuxStream, protocols: frozenset[str]) -> str:
        """As the other side: what the opener chose. Raises `StreamClosed`, `DecodeError`."""


class Paced:
    """Reads a stream no faster than a peer's budget allows."""

    def __init__(self, stream: YamuxStream) -> None:
        now_s = trio.current_time()
        self.stream = stream
        self._bytes = TokenBucket(BUDGET_BYTES_PER_SECOND, BUDGET_BYTES_BURST, now_s)
        self._messages = TokenBucket(BUDGET_MESSAGES_PER_SECOND, BUDGET_MESSAGES_BURST, now_s)

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, empty at the end. Raises `StreamClosed`."""
        piece = await self.stream.read(max_bytes)
        await _pause(self._bytes.take(len(piece), trio.current_time()))
        return piece

    async def frames(self, decoder: FrameDecoder) -> list[bytes]:
        """The next whole frames, none at the end. Raises `StreamClosed`, `DecodeError`."""
        while piece := await self.read():
            if frames := decoder.feed(piece):
                await _pause(self._messages.take(len(frames), trio.current_time()))
                return frames
        return []


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await trio.sleep(seconds)


ExtraHandler = Callable[["PeerLink", YamuxStream], Awaitable[None]]
"""Serves an inbound stream of another protocol (gossip, identify, ping) until it ends."""


class PeerLink:
    """A live connection to one peer."""

    def __init__(
        self,
        hub: Hub,
        peer: PeerId,
        channel: SecureChannel,
        *,
        direction: Direction,
        addresses: tuple[str, ...],
        negotiator: Negotiator,
        extras: Mapping[str, ExtraHandler],
    ) -> None:
        self.peer: Final = peer
        self.direction: Final = direction
        self.addresses: Final = addresses
        self.since_s: Final = trio.current_time()
        self.ready: Final = trio.Event()
        self.settled: Final = trio.Event()
        """Set by the owner once the link is ready or has ended."""
        self.session: Final = YamuxSession(
            channel, initiator=direction is Direction.OUTBOUND, on_stream=self._on_stream
        )
        self._hub = hub
        self._negotiator = negotiator
        self._extras = extras
        self._spoken = frozenset({*_CHANNELS, REQUEST_PROTOCOL, *extras})
        self._serving: set[str] = set()
        self._connected_since_ms = hub.now_ms()
        self._out: dict[Channel, YamuxStream] = {}
        self._ask_stream: YamuxStream | None = None
        self._asker = Asker(peer, self._send_request)
        self._nursery: trio.Nursery | None = None

    def info(self) -> PeerInfo:
        rtt_s = self.session.rtt_s
        return PeerInfo(
            peer_id=self.peer,
            direction=self.direction,
            addresses=self.addresses,
            connected_since_ms=self._connected_since_ms,
            rtt_ms=None if rtt_s is None else rtt_s * 1000,
            score=self._hub.gate.score(self.peer, self._hub.now_ms()),
            queued_bytes=self.session.queued_bytes,
        )

    # --- life
    async def run(self, on_ready: Callable[[PeerLink], None]) -> DisconnectReason:
        """Serve the peer until the connection ends, and say why it did. Never raises for what a peer does; a
        failed disk or a broken promise of our own, met in a handler, goes through."""
        reason = DisconnectReason.SHUTDOWN
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._guard, self._open, nursery, on_ready)
            reason = await self.session.run()
            nursery.cancel_scope.cancel()
        if reason is DisconnectReason.PROTOCOL_VIOLATION:
            self._hub.report(self.peer, Offence.INVALID_MESSAGE, self.session.detail)
        return reason

    async def _open(self, nursery: trio.Nursery, on_ready: Callable[[PeerLink], None]) -> None:
        with trio.move_on_after(HANDSHAKE_SECONDS) as scope:
            async with trio.open_nursery() as opening:
                for channel in Channel:
                    opening.start_soon(self._open_channel, channel, nursery)
                opening.start_soon(self._open_requests, nursery)
        if scope.cancelled_caught:
            self.session.close(DisconnectReason.UNRESPONSIVE, "it agrees on no stream")
        elif not self.session.is_closed:
            on_ready(self)
            self.ready.set()

    async def _open_channel(self, channel: Channel, nursery: trio.Nursery) -> None:
        stream = self.session.open_stream(_PRIORITIES[channel])
        if await self._negotiator.select(stream, PROTOCOLS[channel]):
            self._out[channel] = stream
            nursery.start_soon(self._guard, self._watch, stream)

    async def _open_requests(self, nursery: trio.Nursery) -> None:
        stream = self.session.open_stream(NORMAL)
        if await self._negotiator.select(stream, REQUEST_PROTOCOL):
            self._ask_stream = stream
            nursery.start_soon(self._guard, self._read_answers, stream)

    async def _watch(self, stream: YamuxStream) -> None:
        """Our channels are one-way: the peer may close its half, nothing else."""
        if await stream.read():
            raise DecodeError("wrote on a stream that is ours to write")

    def _on_stream(self, stream: YamuxStream) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._guard, self._serve, stream)

    async def _guard(self, serve: Callable[..., Awaitable[None]], *args: object) -> None:
        """Whatever a peer sends, at worst its connection ends."""
        try:
            await serve(*args)
        except* StreamClosed:
            self.session.close(DisconnectReason.CLOSED_BY_PEER, "a stream was reset")
        except* DecodeError as errors:
            self.session.close(DisconnectReason.PROTOCOL_VIOLATION, "; ".join(map(str, errors.exceptions)))
        except* (StorageFailure, InvariantViolation):
            raise
        except* Exception as errors:
            _log.exception("peer_stream_broke", peer=self.peer)
            names = "; ".join(type(error).__name__ for error in errors.exceptions)
            self.session.close(DisconnectReason.PROTOCOL_VIOLATION, names)

    # --- sending
    def send(self, channel: Channel, payload: bytes) -> bool:
        """Queue a frame, or False if the channel is not open or its queue is full."""
        stream = self._out.get(channel)
        if stream is None or stream.is_dead:
            return False
        if stream.out_messages >= SEND_QUEUE_MESSAGES or stream.out_bytes + len(payload) > SEND_QUEUE_BYTES:
            self._hub.dropped_sends[channel.label] += 1
            return False
        stream.write_nowait(frame(payload))
        self._hub.count(channel.label, "out", len(payload))
        return True

    def _send_request(self, body: bytes) -> bool:
        stream = self._ask_stream
        if stream is None or stream.is_dead or stream.out_bytes + len(body) > SEND_QUEUE_BYTES:
            return False
        stream.write_nowait(frame(body))
        self._hub.count(REQUEST_LABEL, "out", len(body))
        return True

    async def request(self, method: str, payload: bytes, timeout_s: float, max_response_bytes: int) -> bytes:
        """Ask this peer. Raises `RequestFailed`."""
        return await self._asker.ask(method, payload, timeout_s, max_response_bytes)

    # --- receiving
    async def _serve(self, stream: YamuxStream) -> None:
        """Agree on a protocol and serve it until the peer ends it. A second stream of a kind is refused."""
        protocol = ""
        try:
            with trio.move_on_after(HANDSHAKE_SECONDS):
                protocol = await self._negotiator.accept(stream, self._spoken)
            if not protocol or protocol in self._serving:
                stream.reset()
                return
            self._serving.add(protocol)
            try:
                await self._dispatch(protocol, stream)
            finally:
                self._serving.discard(protocol)
            stream.close_write()
        except StreamClosed:
            return  # the peer may end its own streams as it likes

    async def _dispatch(self, protocol: str, stream: YamuxStream) -> None:
        await self.ready.wait()
        if protocol in _CHANNELS:
            await self._serve_channel(_CHANNELS[protocol], stream)
        elif protocol == REQUEST_PROTOCOL:
            await self._serve_requests(stream)
        else:
            await self._extras[protocol](self, stream)

    async def _serve_channel(self, channel: Channel, stream: YamuxStream) -> None:
        """Hand frames to the node at the pace the node and the budget allow."""
        paced = Paced(stream)
        decoder = FrameDecoder(CHANNEL_FRAME_BYTES[channel.label])
        inbox = self._hub.inbox(channel)
        while frames := await paced.frames(decoder):
            if (reason := self._hub.refusal(self.peer)) is not None:
                self.session.close(reason)
                return
            for payload in frames:
                self._hub.count(channel.label, "in", len(payload))
                await inbox.put(Message(self.peer, channel, payload))

    async def _serve_requests(self, stream: YamuxStream) -> None:
        async def send(body: bytes) -> None:
            await stream.write(frame(body))
            self._hub.count(REQUEST_LABEL, "out", len(body))

        server = Server(self.peer, self._hub.handlers, send)
        paced = Paced(stream)
        decoder = FrameDecoder(REQUEST_FRAME_BYTES)
        async with trio.open_nursery() as nursery:
            while frames := await paced.frames(decoder):
                for body in frames:
                    self._hub.count(REQUEST_LABEL, "in", len(body))
                    await server.on_frame(body, nursery)
            nursery.cancel_scope.cancel()

    async def _read_answers(self, stream: YamuxStream) -> None:
        """Give the peer's answers to whoever asked. Not paced: we asked for them."""
        decoder = FrameDecoder(RESPONSE_FRAME_BYTES)
        try:
            while piece := await stream.read():
                for body in decoder.feed(piece):
                    self._hub.count(REQUEST_LABEL, "in", len(body))
                    self._asker.on_frame(body)
        finally:
            self._asker.fail_all(RequestCode.DISCONNECTED, "the connection was lost")
