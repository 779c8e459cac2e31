"""The libp2p host against strangers and hostile peers, and each default of the library that we replaced."""

from __future__ import annotations

import os
import random
import socket
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.peer.id import ID
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID
from structlog.testing import capture_logs

from p2p.framing import encode_varint, frame
from p2p.host import Libp2pHost, open_host
from p2p.identity import peer_id_from_seed, public_key_of
from p2p.libp2p_streams import Multistream
from p2p.libp2p_upgrade import RawPipe, Upgrader
from p2p.link import PROTOCOLS, REQUEST_PROTOCOL
from p2p.transport import Channel, Direction
from p2p.yamux import ChannelClosed
from p2p.yamux_stream import StreamClosed
from primitives.limits import (
    BUDGET_HANDSHAKES_BURST,
    BUDGET_HANDSHAKES_PER_SECOND,
    CHANNEL_FRAME_BYTES,
    HANDSHAKE_SECONDS,
    MAX_HANDSHAKE_ADDRESSES,
    MAX_HANDSHAKES_PER_ADDRESS,
    MAX_PEER_STREAMS,
    SEND_QUEUE_BYTES,
    YAMUX_WINDOW_BYTES,
)
from tests.p2p.support import LOOPBACK, NETWORK, open_mesh, permit, receive, seed, until
from tests.p2p.villains import (
    closed_by,
    is_refused,
    noise_to,
    open_stream,
    session_to,
    socket_to,
    yamux_header,
)

pytestmark = pytest.mark.trio
VILLAIN = seed(66)
VILLAIN_ID = peer_id_from_seed(VILLAIN)


def open_node(number: int = 0) -> AbstractAsyncContextManager[Libp2pHost]:
    return open_host(seed=seed(number), network=NETWORK, listen=LOOPBACK)


async def still_serves(host: Libp2pHost) -> bool:
    """True if a permitted newcomer can connect and be heard."""
    async with open_host(seed=seed(40), network=NETWORK, listen=()) as guest:
        host.set_permitted({guest.peer_id: (), VILLAIN_ID: ()})
        permit(guest, host.peer_id)
        guest.add_persistent(host.peer_id, host.listen_addresses)
        await until(lambda: guest.is_connected(host.peer_id) and host.is_connected(guest.peer_id))
        assert guest.send(host.peer_id, Channel.CONSENSUS, b"hello")
        return (await receive(host, Channel.CONSENSUS))[0].payload == b"hello"


def has_refused(host: Libp2pHost, count: int) -> bool:
    return host.counters().refused_connections.get("handshake", 0) == count


def has_cut(host: Libp2pHost, count: int) -> bool:
    return host.counters().disconnects.get("protocol_violation", 0) == count


# --- strangers


async def test_unpermitted_peer_is_refused_after_the_handshake_and_logged() -> None:
    async with open_node() as host:
        with capture_logs() as logs:
            assert await is_refused(host, VILLAIN)
            await until(lambda: host.counters().refused_connections == {"not_permitted": 1})
        (entry,) = [entry for entry in logs if entry["event"] == "connection_refused"]
        assert (entry["peer"], entry["reason"]) == (VILLAIN_ID, "not_permitted")
        assert entry["address"].startswith("/ip4/127.0.0.1/tcp/")
        assert await still_serves(host)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 1000,
        b"\xff" * 1000,
        b"\x13/multistream/1.0.0\n" + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + b"A" * 100,
        b"\x13/multistream/1.0.0\n" + b"\x07/noise\n" + b"\xff\xff" + b"\x00" * 100,
        b"\x13/multistream/1.0.0\n" + b"\x07/noise\n" + b"\x00\x20" + bytes(32),  # a key of order one
        b"\x13/multistream/1.0.0\n" + b"\x03\xff\xfe\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    ],
)
async def test_garbage_closes_its_connection_and_the_node_goes_on(garbage: bytes) -> None:
    async with open_node() as host:
        async with socket_to(host) as stream:
            await stream.send_all(garbage)
            await stream.send_eof()
            with trio.fail_after(HANDSHAKE_SECONDS):
                assert await closed_by(stream)
        await until(lambda: host.counters().refused_connections.get("handshake") == 1)
        assert await still_serves(host)


@pytest.mark.parametrize("before", [b"", b"\x13/multistream/1.0.0\n"])
async def test_announced_gigabytes_are_not_waited_for(before: bytes) -> None:
    async with open_node() as host, socket_to(host) as stream:
        await stream.send_all(before + encode_varint(2**34) + bytes(1000))
        with trio.fail_after(1):
            assert await closed_by(stream)


async def test_random_bytes_never_hurt() -> None:
    rng = random.Random(7)
    async with open_node() as host:
        for number in range(60):
            prefix = rng.choice([b"", b"\x13/multistream/1.0.0\n", b"\x13/multistream/1.0.0\n\x07/noise\n"])
            async with socket_to(host) as stream:
                await stream.send_all(prefix + rng.randbytes(rng.randrange(1, 300)))
                await stream.send_eof()
                with trio.fail_after(HANDSHAKE_SECONDS):
                    assert await closed_by(stream)
            await until(partial(has_refused, host, number + 1))
        assert await still_serves(host)


async def test_half_open_handshakes_are_bounded_in_number_and_time() -> None:
    async with open_node() as host, AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(socket_to(host)) for _ in range(MAX_HANDSHAKES_PER_ADDRESS)
        ]
        await until(lambda: host._handshakes.total() == MAX_HANDSHAKES_PER_ADDRESS)
        async with socket_to(host) as late:
            with trio.fail_after(1):
                assert await closed_by(late)
        assert host.counters().refused_connections == {"too_many": 1}
        with trio.fail_after(HANDSHAKE_SECONDS + 1):
            for stream in streams:
                assert await closed_by(stream)
        await until(lambda: host._handshakes.total() == 0)
        assert host.counters().refused_connections["handshake_timeout"] == MAX_HANDSHAKES_PER_ADDRESS
        assert await still_serves(host)


@pytest.mark.parametrize("protocol", ["/tls/1.0.0", str(PLAINTEXT_PROTOCOL_ID), "/secio/1.0.0"])
async def test_nothing_but_noise_is_spoken(protocol: str) -> None:
    async with open_node() as host, socket_to(host) as stream:
        offer = b"/multistream/1.0.0\n"
        await stream.send_all(frame(offer) + frame(protocol.encode() + b"\n"))
        answer = b""
        with trio.fail_after(2):
            while len(answer) < len(offer) + 1 + 4:
                answer += await stream.receive_some()
        assert answer == frame(offer) + frame(b"na\n")


async def test_nothing_but_yamux_is_spoken() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with socket_to(host) as stream:
            raw = RawPipe(stream, initiator=True)
            session = await Upgrader(VILLAIN, lambda peer: None)._security.secure_outbound(
                raw, ID.from_base58(host.peer_id)
            )
            offer = frame(b"/multistream/1.0.0\n")
            await session.write(offer + frame(b"/mplex/6.7.0\n"))
            with trio.fail_after(2):
                assert await session.read(len(offer) + 4) == offer + frame(b"na\n")


async def test_somebody_else_at_the_address_is_not_taken_for_the_peer() -> None:
    async with open_node(0) as one, open_node(1) as other:
        expected = peer_id_from_seed(seed(2))
        permit(one, expected, other.peer_id)
        permit(other, one.peer_id)
        address = other.listen_addresses[0].rsplit("/p2p/", 1)[0]
        one.add_persistent(expected, [address])
        await until(lambda: one.counters().dial_failures.get("identity", 0) > 0)
        assert one.peers() == ()


async def test_dial_failures_are_told_apart() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        closed_port = reserved.getsockname()[1]
        async with open_node() as host:
            permit(host, VILLAIN_ID)
            host.add_persistent(VILLAIN_ID, [f"/ip4/127.0.0.1/tcp/{closed_port}", "/dns/no.invalid/tcp/1"])
            await until(lambda: set(host.counters().dial_failures) == {"refused", "name"})


# --- permitted and hostile


async def test_oversize_frame_ends_the_connection_before_its_body_comes() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with session_to(host, VILLAIN) as session:
            await until(lambda: host.is_connected(VILLAIN_ID))
            stream = await open_stream(session, PROTOCOLS[Channel.BLOCKS])
            stream.write_nowait(encode_varint(CHANNEL_FRAME_BYTES["blocks"] + 1))
            await until(lambda: not host.is_connected(VILLAIN_ID))
        assert host.counters().disconnects == {"protocol_violation": 1}
        assert host.hub.gate.score(VILLAIN_ID, host.hub.now_ms()) > 0
        assert await still_serves(host)


async def test_peer_that_keeps_breaking_the_protocol_is_banned() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        for attempt in range(6):  # five offences' points would do, if none decayed meanwhile
            async with session_to(host, VILLAIN) as session:
                await until(lambda: host.is_connected(VILLAIN_ID))
                stream = await open_stream(session, PROTOCOLS[Channel.CONSENSUS])
                stream.write_nowait(b"\xff" * 10)
                await until(partial(has_cut, host, attempt + 1))
        assert [ban.peer for ban in host.bans()] == [VILLAIN_ID]
        assert await is_refused(host, VILLAIN)


async def test_garbage_request_frames_end_the_connection() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with session_to(host, VILLAIN) as session:
            await until(lambda: host.is_connected(VILLAIN_ID))
            stream = await open_stream(session, REQUEST_PROTOCOL)
            stream.write_nowait(frame(b"\x07\x00\x00\x00\x01junk"))
            await until(lambda: not host.is_connected(VILLAIN_ID))
        assert host.counters().disconnects == {"protocol_violation": 1}


async def test_window_violation_ends_the_connection_and_holds_one_window_at_most() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with noise_to(host, VILLAIN) as pipe:
            await pipe.send(yamux_header(1, 1, 1, 0))
            chunk = yamux_header(0, 0, 1, 60_000) + bytes(60_000)
            with suppress(ChannelClosed):
                for _ in range(2 * YAMUX_WINDOW_BYTES // 60_000):
                    await pipe.send(chunk)
            await until(lambda: VILLAIN_ID not in host.links)
        assert await still_serves(host)


async def test_stream_flood_ends_the_connection() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with noise_to(host, VILLAIN) as pipe:
            opens = b"".join(yamux_header(1, 1, 2 * number + 1, 0) for number in range(1000))
            await pipe.send(opens)
            await until(lambda: VILLAIN_ID not in host.links)
        assert await still_serves(host)


async def test_second_stream_of_a_kind_is_refused() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with session_to(host, VILLAIN) as session:
            await until(lambda: host.is_connected(VILLAIN_ID))
            first = await open_stream(session, PROTOCOLS[Channel.CONSENSUS])
            with pytest.raises(StreamClosed):
                await open_stream(session, PROTOCOLS[Channel.CONSENSUS])
            first.write_nowait(frame(b"one"))
            assert [message.payload for message in await receive(host, Channel.CONSENSUS)] == [b"one"]
            assert host.links[VILLAIN_ID].session.stream_count <= MAX_PEER_STREAMS


async def test_unknown_protocol_costs_only_its_stream() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with session_to(host, VILLAIN) as session:
            await until(lambda: host.is_connected(VILLAIN_ID))
            stream = session.open_stream(1)
            assert not await Multistream().select(stream, "/other/1")
            await open_stream(session, PROTOCOLS[Channel.CONSENSUS])
            assert host.is_connected(VILLAIN_ID)


async def test_peer_that_reads_nothing_costs_one_queue_and_holds_up_nobody() -> None:
    async with open_node() as host, open_host(seed=seed(41), network=NETWORK, listen=()) as honest:
        permit(host, VILLAIN_ID, honest.peer_id)
        permit(honest, host.peer_id)
        honest.add_persistent(host.peer_id, host.listen_addresses)
        async with session_to(host, VILLAIN):
            await until(lambda: len(host.peers()) == 2)
            while host.send(VILLAIN_ID, Channel.TRANSACTIONS, bytes(2**16)):
                await trio.lowlevel.checkpoint()
            assert host.links[VILLAIN_ID].session.queued_bytes <= SEND_QUEUE_BYTES
            assert host.send(honest.peer_id, Channel.TRANSACTIONS, b"on time")
            with trio.fail_after(1):
                assert (await receive(honest, Channel.TRANSACTIONS))[0].payload == b"on time"


async def test_peer_that_agrees_on_no_stream_is_given_up() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with noise_to(host, VILLAIN) as pipe:
            await until(lambda: VILLAIN_ID in host.links)
            with trio.fail_after(HANDSHAKE_SECONDS + 2):
                while VILLAIN_ID in host.links:
                    await pipe.receive()
                    await pipe.send(yamux_header(2, 1, 0, 1))
                    await trio.sleep(0.2)
        assert host.peers() == ()


async def test_connection_ends_for_a_message_that_comes_after_the_permission_went() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with session_to(host, VILLAIN) as session:
            await until(lambda: host.is_connected(VILLAIN_ID))
            stream = await open_stream(session, PROTOCOLS[Channel.CONSENSUS])
            host.hub.gate.set_permitted({})  # as if the cut had not come through yet
            stream.write_nowait(frame(b"late"))
            await until(lambda: VILLAIN_ID not in host.links)
        assert host.inbox(Channel.CONSENSUS).receive_nowait() == []


async def test_of_two_connections_dialled_at_once_both_ends_keep_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("p2p.dialer._YIELD_S", 0.0)
    async with open_node(0) as one, open_node(1) as other:
        smaller, greater = sorted((one, other), key=lambda host: host.peer_id)
        for _ in range(10):
            for host, peer in ((one, other), (other, one)):
                host.set_permitted({peer.peer_id: peer.listen_addresses})
                host.add_persistent(peer.peer_id)
            await until(lambda: bool(one.peers() and other.peers()))
            await trio.sleep(0.1)
            assert smaller.peers()[0].direction is Direction.OUTBOUND
            assert greater.peers()[0].direction is Direction.INBOUND
            connection = smaller.links[greater.peer_id].session
            await trio.sleep(0.2)
            assert smaller.links[greater.peer_id].session is connection  # it is stable
            for host, peer in ((one, other), (other, one)):
                host.remove_persistent(peer.peer_id)
                host.disconnect(peer.peer_id)
            await until(lambda: not one.links and not other.links)


# --- the library's defaults


async def test_address_that_begins_handshakes_without_end_is_refused_cheaply() -> None:
    async with open_node() as host:
        async with trio.open_nursery() as nursery:

            async def knock() -> None:
                with suppress(trio.BrokenResourceError):  # the node has hung up already
                    async with socket_to(host) as stream:
                        await stream.send_all(b"x")
                        await stream.send_eof()
                        await closed_by(stream)

            for _ in range(2 * BUDGET_HANDSHAKES_BURST):
                nursery.start_soon(knock)
                await trio.sleep(0.002)
        await until(lambda: sum(host.counters().refused_connections.values()) == 2 * BUDGET_HANDSHAKES_BURST)
        refused = host.counters().refused_connections
        assert refused["handshake"] <= BUDGET_HANDSHAKES_BURST + 2 * BUDGET_HANDSHAKES_PER_SECOND
        assert refused["too_many"] > 0


async def test_addresses_that_are_remembered_are_bounded() -> None:
    async with open_node() as host:
        for number in range(MAX_HANDSHAKE_ADDRESSES + 10):
            host._budget_of(str(number))
        assert len(host._budgets) == MAX_HANDSHAKE_ADDRESSES


async def test_more_than_250_connections_in_a_life_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.host.BUDGET_HANDSHAKES_PER_SECOND", 1000.0)
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        for number in range(260):
            async with session_to(host, VILLAIN):
                await until(lambda: host.is_connected(VILLAIN_ID))
            await until(lambda: VILLAIN_ID not in host.links)
            host.hub.gate.set_permitted({VILLAIN_ID: ()})  # the disconnections are not offences, but be sure
            assert host.counters().disconnects["closed_by_peer"] == number + 1


async def test_failed_dials_ban_nobody() -> None:
    """libp2p's negative cache shuts a peer out for 60 s after one failed dial."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    async with open_node(0) as one:
        later = peer_id_from_seed(seed(1))
        permit(one, later)
        one.add_persistent(later, [f"/ip4/127.0.0.1/tcp/{port}"])
        await until(lambda: one.counters().dial_failures.get("refused", 0) >= 3)
        async with open_host(seed=seed(1), network=NETWORK, listen=[f"/ip4/127.0.0.1/tcp/{port}"]) as other:
            permit(other, one.peer_id)
            await until(lambda: one.is_connected(later))


async def test_sockets_have_no_delay_and_give_up_a_silent_peer() -> None:
    async with open_mesh("libp2p", 2) as (one, other):
        for host, peer in ((one, other), (other, one)):
            raw = host.links[peer.peer_id].session._channel._raw._stream.socket  # type: ignore[attr-defined]
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 6000


async def test_own_ping_protocol_of_libp2p_is_answered() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with session_to(host, VILLAIN) as session:
            await until(lambda: host.is_connected(VILLAIN_ID))
            stream = await open_stream(session, "/ipfs/ping/1.0.0")
            stream.write_nowait(bytes(range(32)))
            assert await stream.read() == bytes(range(32))


async def test_identify_tells_who_we_are_and_what_we_speak() -> None:
    async with open_node() as host:
        permit(host, VILLAIN_ID)
        async with session_to(host, VILLAIN) as session:
            await until(lambda: host.is_connected(VILLAIN_ID))
            stream = await open_stream(session, "/ipfs/id/1.0.0")
            data = b""
            with trio.fail_after(5):
                while piece := await stream.read():
                    data += piece
            message = Identify()
            message.ParseFromString(data[2 if data[1] < 0x80 and data[0] >= 0x80 else 1 :])
            assert set(PROTOCOLS.values()) < set(message.protocols)
            assert message.public_key[-32:] == public_key_of(host.peer_id)


async def test_import_of_the_interface_does_not_import_libp2p() -> None:
    code = "import sys, p2p.transport, p2p.identity, p2p.memory; sys.exit('libp2p' in sys.modules)"
    root = Path(__file__).parents[2]
    result = await trio.run_process([sys.executable, "-c", code], cwd=root, check=False)
    assert result.returncode == 0


async def test_only_the_adapter_imports_libp2p() -> None:
    room = Path(__file__).parents[2] / "p2p"
    importing = {file.name for file in room.glob("*.py") if "from libp2p" in file.read_text()}
    assert all(name.startswith("libp2p_") for name in importing)
    assert importing


async def test_idle_hosts_use_next_to_no_processor() -> None:
    async with open_mesh("libp2p", 4):
        await trio.sleep(1)
        before = os.times()
        await trio.sleep(2)
        used = os.times().user - before.user + os.times().system - before.system
        assert used / 2 / 4 < 0.03  # of a core, a host
