"""Our yamux streams as libp2p's own code wants them, and multistream-select on them."""

from __future__ import annotations

from typing import Any, Final

from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.network.stream.exceptions import StreamClosed as Libp2pStreamClosed
from libp2p.network.stream.exceptions import StreamEOF, StreamReset
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import (
    MultiselectClientError,
    MultiselectError,
    ProtocolNotSupportedError,
)
from libp2p.protocol_muxer.multiselect import Multiselect
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

from p2p.link import Paced
from p2p.transport import PeerId
from p2p.yamux_stream import StreamClosed, YamuxStream
from primitives.errors import DecodeError
from primitives.limits import HANDSHAKE_SECONDS

_MAX_NEGOTIATION_READ: Final = 1024


class MuxedConn:
    """What libp2p asks of a stream's connection: who is at the other end, and whether it still is."""

    def __init__(self, peer: PeerId) -> None:
        self.peer_id: Final = ID.from_base58(peer)
        self.is_closed = False


class Connection:
    """What libp2p asks of a connection."""

    def __init__(self, peer: PeerId) -> None:
        self.muxed_conn: Final = MuxedConn(peer)


class StreamPipe:
    """A stream whose `read(n)` gives n bytes or raises, at most `max_read` of them."""

    metric_send_channel: Final = None

    def __init__(
        self, stream: YamuxStream, max_read: int, protocol: str = "", connection: Connection | None = None
    ) -> None:
        self._stream = stream
        self._paced = Paced(stream)
        self._max_read = max_read
        self._protocol = TProtocol(protocol)
        self._buffer = bytearray()
        if connection is not None:
            self.muxed_conn = connection.muxed_conn

    def get_protocol(self) -> Any:
        return self._protocol

    def get_remote_address(self) -> None:
        return None

    async def read(self, n: int | None = None) -> bytes:
        if n is None or n > self._max_read:
            raise IOException(f"a read of {n} bytes, at most {self._max_read} are allowed")
        while len(self._buffer) < n:
            try:
                piece = await self._paced.read(n - len(self._buffer))
            except StreamClosed as error:
                raise StreamReset(str(error)) from None
            if not piece:
                raise StreamEOF("the stream ended")
            self._buffer += piece
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except StreamClosed as error:
            raise Libp2pStreamClosed(str(error)) from None

    async def close(self) -> None:
        self._stream.close_write()

    async def reset(self) -> None:
        self._stream.reset()


class Multistream:
    """`p2p.link.Negotiator` by libp2p's multistream-select 1.0."""

    def __init__(self) -> None:
        self._client = MultiselectClient()

    async def select(self, stream: YamuxStream, protocol: str) -> bool:
        """Offer one protocol. False if the peer does not speak it. Raises `StreamClosed`, `DecodeError`."""
        communicator = MultiselectCommunicator(StreamPipe(stream, _MAX_NEGOTIATION_READ))
        try:
            await self._client.handshake(communicator)
            await self._client.try_select(communicator, TProtocol(protocol))
        except ProtocolNotSupportedError:
            stream.reset()
            return False
        except (MultiselectClientError, UnicodeDecodeError) as error:
            raise _ours(stream, error) from None
        return True

    async def accept(self, stream: YamuxStream, protocols: frozenset[str]) -> str:
        """What the opener chose among `protocols`. Raises `StreamClosed`, `DecodeError`."""
        server = Multiselect({TProtocol(protocol): None for protocol in sorted(protocols)})
        communicator = MultiselectCommunicator(StreamPipe(stream, _MAX_NEGOTIATION_READ))
        try:
            protocol, _ = await server.negotiate(communicator, HANDSHAKE_SECONDS)
        except (MultiselectError, UnicodeDecodeError) as error:
            raise _ours(stream, error) from None
        return str(protocol)


def _ours(stream: YamuxStream, error: Exception) -> Exception:
    if stream.reset_seen or stream.is_dead:
        return StreamClosed(str(error))
    return DecodeError(f"multistream-select: {error}")
