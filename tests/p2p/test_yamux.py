"""The multiplexer against honest peers and raw bytes: order, priority, windows, and nothing that grows."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.transport import DisconnectReason
from p2p.yamux import ChannelClosed, YamuxSession
from p2p.yamux_stream import LOW, NORMAL, URGENT, StreamClosed, YamuxStream
from primitives.limits import (
    BUDGET_PINGS_BURST,
    BUDGET_STREAMS_BURST,
    MAX_PEER_STREAMS,
    PING_INTERVAL_SECONDS,
    PING_MISSES,
    YAMUX_BATCH_BYTES,
    YAMUX_WINDOW_BYTES,
)

pytestmark = pytest.mark.trio
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


def header(kind: int, flags: int, stream_id: int, length: int, version: int = 0) -> bytes:
    return struct.pack("!BBHII", version, kind, flags, stream_id, length)


class Wire:
    """One direction of a pipe that keeps batches apart and can be stopped."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](1000)
        self.batches: list[bytes] = []
        self.open = trio.Event()
        self.open.set()

    async def send(self, data: bytes) -> None:
        assert len(data) <= YAMUX_BATCH_BYTES
        await self.open.wait()
        self.batches.append(data)
        try:
            await self._send.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChannelClosed("closed") from None

    async def receive(self) -> bytes:
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise ChannelClosed("closed") from None

    def close(self) -> None:
        self._send.close()
        self._receive.close()


@dataclass
class Pipe:
    """A `SecureChannel` of two wires."""

    out: Wire
    into: Wire

    async def send(self, data: bytes) -> None:
        await self.out.send(data)

    async def receive(self) -> bytes:
        return await self.into.receive()

    def kill(self) -> None:
        self.out.close()
        self.into.close()


@dataclass
class Peer:
    """A session under test, and what came of it."""

    session: YamuxSession
    wire: Wire
    accepted: list[YamuxStream] = field(default_factory=list)
    reason: DisconnectReason | None = None


def peer(out: Wire, into: Wire, *, initiator: bool) -> Peer:
    accepted: list[YamuxStream] = []
    session = YamuxSession(Pipe(out, into), initiator=initiator, on_stream=accepted.append)
    return Peer(session, out, accepted)


@asynccontextmanager
async def running(*peers: Peer) -> AsyncIterator[None]:
    async def run(one: Peer) -> None:
        one.reason = await one.session.run()

    async with trio.open_nursery() as nursery:
        for one in peers:
            nursery.start_soon(run, one)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Peer, Peer]]:
    there, back = Wire(), Wire()
    one, other = peer(there, back, initiator=True), peer(back, there, initiator=False)
    async with running(one, other):
        yield one, other


@asynccontextmanager
async def victim() -> AsyncIterator[tuple[Peer, Wire]]:
    """A session that accepted a connection, and the wire to throw bytes at it."""
    attack, answer = Wire(), Wire()
    one = peer(answer, attack, initiator=False)
    async with running(one):
        yield one, attack


async def throw(wire: Wire, data: bytes) -> None:
    """Send to a session that may have hung up already."""
    with suppress(ChannelClosed):
        await wire.send(data)


async def read_all(stream: YamuxStream, count: int) -> bytes:
    data = b""
    with trio.fail_after(5):
        while len(data) < count:
            data += await stream.read()
    return data


async def accepted(one: Peer, count: int = 1) -> list[YamuxStream]:
    with trio.fail_after(5):
        while len(one.accepted) < count:
            await trio.lowlevel.checkpoint()
    return one.accepted


# --- honest peers


async def test_bytes_arrive_whole_and_in_order_on_both_sides() -> None:
    async with pair() as (one, other):
        stream = one.session.open_stream(NORMAL)
        sent = bytes(range(256)) * 4096  # one window
        stream.write_nowait(sent)
        (received,) = await accepted(other)
        assert await read_all(received, len(sent)) == sent
        received.write_nowait(b"thanks")
        assert await stream.read() == b"thanks"


async def test_more_than_a_window_flows_as_the_reader_reads() -> None:
    async with pair() as (one, other):
        stream = one.session.open_stream(NORMAL)
        sent = b"x" * (5 * YAMUX_WINDOW_BYTES)
        stream.write_nowait(sent)
        (received,) = await accepted(other)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert stream.out_bytes == 4 * YAMUX_WINDOW_BYTES  # one window is out, and no byte more
        assert await read_all(received, len(sent)) == sent
        with trio.fail_after(5):
            await stream.drain()


async def test_writes_stay_below_the_size_that_travels_at_half_the_speed() -> None:
    async with pair() as (one, other):
        stream = one.session.open_stream(NORMAL)
        sent = b"x" * YAMUX_WINDOW_BYTES
        stream.write_nowait(sent)
        (received,) = await accepted(other)
        assert await read_all(received, len(sent)) == sent
        assert len(sent) // 65_000 <= len(one.wire.batches)
        assert max(map(len, one.wire.batches)) <= 65_000


async def test_reader_that_never_reads_stops_its_own_stream_only() -> None:
    async with pair() as (one, other):
        slow, quick = one.session.open_stream(NORMAL), one.session.open_stream(NORMAL)
        slow.write_nowait(b"x" * (3 * YAMUX_WINDOW_BYTES))
        await trio.testing.wait_all_tasks_blocked(0.05)
        quick.write_nowait(b"still here")
        received = (await accepted(other, 2))[1]
        with trio.fail_after(1):
            assert await received.read() == b"still here"


async def test_urgent_bytes_overtake_what_waits() -> None:
    async with pair() as (one, other):
        bulk, urgent = one.session.open_stream(LOW), one.session.open_stream(URGENT)
        await accepted(other, 2)
        one.wire.open = trio.Event()  # the socket is stuck
        bulk.write_nowait(b"b" * (8 * YAMUX_BATCH_BYTES))
        await trio.testing.wait_all_tasks_blocked(0.05)
        urgent.write_nowait(b"u" * 100)
        before = len(one.wire.batches)
        one.wire.open.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        first = next(n for n, batch in enumerate(one.wire.batches[before:]) if b"u" * 100 in batch)
        assert first <= 1  # at most the batch that was in the socket already goes before


async def test_less_urgent_streams_are_served_while_others_never_pause() -> None:
    async with pair() as (one, other):
        normal, low = one.session.open_stream(NORMAL), one.session.open_stream(LOW)
        await accepted(other, 2)
        one.wire.open = trio.Event()
        normal.write_nowait(b"n" * (12 * YAMUX_BATCH_BYTES))
        low.write_nowait(b"l" * 100)
        before = len(one.wire.batches)
        one.wire.open.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert any(b"l" * 100 in batch for batch in one.wire.batches[before : before + 6])


async def test_closed_half_still_receives() -> None:
    async with pair() as (one, other):
        stream = one.session.open_stream(NORMAL)
        stream.write_nowait(b"question")
        stream.close_write()
        with pytest.raises(StreamClosed):
            stream.write_nowait(b"more")
        (received,) = await accepted(other)
        assert await received.read() == b"question"
        assert await received.read() == b""
        received.write_nowait(b"answer")
        received.close_write()
        assert await stream.read() == b"answer"
        assert await stream.read() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert one.session.stream_count == other.session.stream_count == 0


async def test_reset_wakes_readers_and_writers_of_both_sides() -> None:
    async with pair() as (one, other):
        stream = one.session.open_stream(NORMAL)
        (received,) = await accepted(other)
        received.reset()
        with trio.fail_after(1), pytest.raises(StreamClosed):
            await stream.read()
        with pytest.raises(StreamClosed):
            stream.write_nowait(b"x")
        assert one.session.stream_count == other.session.stream_count == 0


async def test_cancelled_write_leaves_the_connection_alive() -> None:
    async with pair() as (one, other):
        stuck = one.session.open_stream(NORMAL)
        stuck.write_nowait(b"x" * (3 * YAMUX_WINDOW_BYTES))
        with trio.move_on_after(0.05) as scope:
            await stuck.write(b"waits for ever")
        assert scope.cancelled_caught
        stream = one.session.open_stream(NORMAL)
        stream.write_nowait(b"alive")
        assert await (await accepted(other, 2))[1].read() == b"alive"


async def test_thousands_of_streams_in_a_row_leave_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (one, other):
        for number in range(2000):
            stream = one.session.open_stream(NORMAL)
            stream.write_nowait(b"x")
            stream.close_write()
            received = (await accepted(other, number + 1))[-1]
            assert await received.read() == b"x"
            received.close_write()
            assert await stream.read() == b""
            await trio.sleep(0.2)
        await trio.testing.wait_all_tasks_blocked()
        assert one.session.stream_count == other.session.stream_count == 0
        assert one.reason is other.reason is None


async def test_pings_measure_the_round_trip() -> None:
    async with pair() as (one, other):
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert one.session.rtt_s is not None
        assert 0 <= one.session.rtt_s < 1
        assert other.session.rtt_s is not None


async def test_idle_session_lives_on(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (one, other):
        await trio.sleep(3600)
        assert one.reason is other.reason is None


async def test_silent_peer_is_given_up_after_three_pings(autojump_clock: trio.testing.MockClock) -> None:
    async with victim() as (one, _):
        await trio.sleep(PING_INTERVAL_SECONDS * PING_MISSES - 0.1)
        assert one.reason is None
        await trio.sleep(PING_INTERVAL_SECONDS + 0.2)
        assert one.reason is DisconnectReason.UNRESPONSIVE


async def test_peer_that_talks_but_never_reads_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with victim() as (one, attack):
        one.wire.open = trio.Event()  # our writes are stuck
        for number in range(10):
            await throw(attack, header(WINDOW, SYN, 2 * number + 1, 0))
            await trio.sleep(1)
        assert one.reason is DisconnectReason.UNRESPONSIVE


# --- hostile peers


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("another version", lambda: header(PING, SYN, 0, 1, version=1)),
        ("an unknown type", lambda: header(9, 0, 1, 0)),
        ("an id of the wrong side", lambda: header(WINDOW, SYN, 2, 0)),
        ("stream zero", lambda: header(WINDOW, SYN, 0, 0)),
        ("the same stream twice", lambda: header(WINDOW, SYN, 1, 0) * 2),
        ("data for a stream that never was", lambda: header(DATA, 0, 7, 3) + b"abc"),
        ("window for a stream of ours that never was", lambda: header(WINDOW, 0, 8, 3)),
        ("data past the window", lambda: header(DATA, SYN, 1, YAMUX_WINDOW_BYTES + 1)),
        ("four gigabytes announced", lambda: header(DATA, SYN, 1, 2**32 - 1)),
        (
            "past the window in small steps",
            lambda: (
                header(WINDOW, SYN, 1, 0)
                + (header(DATA, 0, 1, 65_536) + bytes(65_536)) * (YAMUX_WINDOW_BYTES // 65_536 + 1)
            ),
        ),
        ("data after its end", lambda: header(DATA, SYN | FIN, 1, 0) + header(DATA, 0, 1, 1) + b"x"),
        ("a window that overflows", lambda: header(WINDOW, SYN, 1, 2**32 - 1) + header(WINDOW, 0, 1, 2**31)),
        (
            "streams without end",
            lambda: b"".join(
                header(WINDOW, SYN, 2 * n + 1, 0) + header(WINDOW, RST, 2 * n + 1, 0)
                for n in range(BUDGET_STREAMS_BURST + 10)
            ),
        ),
        ("pings without end", lambda: header(PING, SYN, 0, 1) * (BUDGET_PINGS_BURST + 10)),
    ],
)
async def test_violation_ends_the_connection(name: str, attack: Callable[[], bytes]) -> None:
    async with victim() as (one, wire):
        data = attack()
        for start in range(0, len(data), 60_000):
            await throw(wire, data[start : start + 60_000])
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert one.reason is DisconnectReason.PROTOCOL_VIOLATION, name
        assert one.session.detail
        assert one.session.stream_count == 0


async def test_streams_over_the_bound_are_reset_and_the_others_live() -> None:
    async with victim() as (one, wire):
        for number in range(MAX_PEER_STREAMS + 3):
            await wire.send(header(WINDOW, SYN, 2 * number + 1, 0))
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert one.reason is None
        assert one.session.stream_count == MAX_PEER_STREAMS
        answer = b"".join(one.wire.batches)
        refused = [2 * n + 1 for n in range(MAX_PEER_STREAMS, MAX_PEER_STREAMS + 3)]
        assert all(header(WINDOW, RST, stream_id, 0) in answer for stream_id in refused)


async def test_late_data_of_a_stream_we_reset_is_skipped() -> None:
    async with victim() as (one, wire):
        await wire.send(header(WINDOW, SYN, 1, 0))
        (stream,) = await accepted(one)
        stream.reset()
        await wire.send(header(DATA, 0, 1, 5) + b"later" + header(PING, SYN, 0, 77))
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert one.reason is None
        assert header(PING, ACK, 0, 77) in b"".join(one.wire.batches)


async def test_peer_that_asks_and_never_reads_is_cut_off_before_memory_grows() -> None:
    async with victim() as (one, wire):
        one.wire.open = trio.Event()
        await wire.send(header(WINDOW, SYN, 1, 0))
        (stream,) = await accepted(one)
        for _ in range(6000):  # each credit we owe is a control frame in the queue
            one.session.credit(stream, 1)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert one.reason is DisconnectReason.UNRESPONSIVE


async def test_go_away_ends_the_connection() -> None:
    async with victim() as (one, wire):
        await wire.send(header(GO_AWAY, 0, 0, 0))
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert one.reason is DisconnectReason.CLOSED_BY_PEER


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=10), st.booleans())
async def test_no_bytes_make_the_session_raise(pieces: list[bytes], likely: bool) -> None:
    """`likely` makes headers that pass the first checks."""
    async with victim() as (one, wire):
        for piece in pieces:
            await throw(wire, bytes([0, piece[0] % 4, 0, piece[0] % 16]) + piece[1:] if likely else piece)
            await trio.testing.wait_all_tasks_blocked()
        assert one.session.queued_bytes == 0
