"""Peers that misbehave, named by how. They speak real TCP and, where they get so far, real Noise."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from p2p.addresses import parse_address
from p2p.identity import PeerId
from p2p.libp2p_streams import Multistream
from p2p.libp2p_upgrade import HandshakeFailed, NoisePipe, Upgrader
from p2p.yamux import ChannelClosed, YamuxSession
from p2p.yamux_stream import NORMAL, YamuxStream


class Target(Protocol):
    """A node as a villain sees it: who it is, where, and what it speaks."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def listen_addresses(self) -> tuple[str, ...]: ...

    @property
    def extras(self) -> Mapping[str, object]: ...


@asynccontextmanager
async def socket_to(host: Target) -> AsyncIterator[trio.SocketStream]:
    """A bare connection to a node's port."""
    address = parse_address(host.listen_addresses[0])
    async with await trio.open_tcp_stream(address.host, address.port) as stream:
        yield stream


async def closed_by(stream: trio.SocketStream) -> bool:
    """True once the node has closed the connection."""
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
    return True


@asynccontextmanager
async def noise_to(host: Target, seed: bytes) -> AsyncIterator[NoisePipe]:
    """An encrypted pipe to a node, made with the identity of `seed`; the rest is the villain's to write."""
    async with socket_to(host) as stream:
        secured = await Upgrader(seed, lambda peer: None).outbound(stream, host.peer_id)
        yield secured.pipe


@asynccontextmanager
async def session_to(host: Target, seed: bytes) -> AsyncIterator[YamuxSession]:
    """A running multiplexer to a node, which opens the streams that an honest peer opens, and reads none."""
    async with noise_to(host, seed) as pipe, trio.open_nursery() as nursery:
        negotiator = Multistream()

        async def agree(stream: YamuxStream) -> None:
            await negotiator.accept(stream, frozenset(host.extras) | set(OWN_PROTOCOLS))

        session = YamuxSession(
            pipe, initiator=True, on_stream=lambda stream: nursery.start_soon(agree, stream)
        )
        nursery.start_soon(session.run)
        yield session
        nursery.cancel_scope.cancel()


async def open_stream(session: YamuxSession, protocol: str) -> YamuxStream:
    """A stream of one protocol, agreed on."""
    stream = session.open_stream(NORMAL)
    assert await Multistream().select(stream, protocol)
    return stream


async def is_refused(host: Target, seed: bytes) -> bool:
    """True if a node hangs up on this identity right after the handshake."""
    try:
        async with noise_to(host, seed) as pipe:
            await pipe.receive()
    except (HandshakeFailed, ChannelClosed):
        return True
    return False


OWN_PROTOCOLS = (
    "/drex/consensus/1",
    "/drex/transactions/1",
    "/drex/blocks/1",
    "/drex/request/1",
)


def yamux_header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, stream_id, length)
