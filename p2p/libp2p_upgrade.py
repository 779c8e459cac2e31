"""From a TCP socket to an authenticated, encrypted pipe: multistream-select, Noise XX, multistream-select.

Noise only, yamux only. The permission of the remote PeerId is asked right after the Noise handshake, before a
multiplexer exists. Whatever a stranger sends ends in `HandshakeFailed`; it can make us hold
`_MAX_HANDSHAKE_READ` bytes for as long as the caller's deadline, no more.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.crypto.ed25519 import create_new_key_pair as ed25519_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.protocol_muxer.generic_selector import GenericMultistreamSelector
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.security_multistream import SecurityMultistream

from p2p.transport import DisconnectReason, PeerId
from p2p.yamux import ChannelClosed
from primitives.limits import HANDSHAKE_SECONDS, PING_INTERVAL_SECONDS, PING_MISSES

YAMUX_PROTOCOL: Final = TProtocol("/yamux/1.0.0")
_MAX_HANDSHAKE_READ: Final = 65_537
_SOCKET_READ_BYTES: Final = 256 * 1024
_NOT_SENT_LOWAT_BYTES: Final = 128 * 1024

logging.getLogger("libp2p").setLevel(logging.CRITICAL)  # what matters is logged here, once and structured

Refusal = Callable[[PeerId], DisconnectReason | None]


class HandshakeFailed(Exception):
    """No pipe. `reason`: `handshake`, `identity`, `not_permitted` or `banned` (by this node), `not_admitted`
    (the dialled peer closed as soon as it knew who dials). `peer` is set once proven."""

    def __init__(self, reason: str, detail: str, peer: PeerId | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.peer = peer


class RawPipe(IRawConnection):  # type: ignore[misc]
    """A socket as libp2p's handshakes want it: `read(n)` gives n bytes or raises. Buffered, bounded."""

    def __init__(self, stream: trio.SocketStream, *, initiator: bool) -> None:
        self.is_initiator = initiator
        self.has_ended = False
        """The peer closed the connection, or it broke."""
        self._stream = stream
        self._buffer = bytearray()
        set_socket_options(stream)

    async def read(self, n: int | None = None) -> bytes:
        if n is None or n > _MAX_HANDSHAKE_READ:
            raise ConnectionClosedError(f"a read of {n} bytes")
        while len(self._buffer) < n:
            try:
                piece = await self._receive()
            except (OSError, trio.ClosedResourceError) as error:
                self.has_ended = True
                raise ConnectionClosedError(str(error)) from None
            if not piece:
                self.has_ended = True
                raise ConnectionClosedError("the peer closed the connection")
            self._buffer += piece
        data = bytes(self._buffer[:n])
        del self._buffer[:n]
        return data

    async def _receive(self) -> bytes:
        """What is there, once something is: trio's own way tries in vain before it waits."""
        while True:
            await trio.lowlevel.wait_readable(self._descriptor())
            try:
                return os.read(self._descriptor(), _SOCKET_READ_BYTES)
            except BlockingIOError:
                continue

    def _descriptor(self) -> int:
        if (descriptor := self._stream.socket.fileno()) < 0:
            raise trio.ClosedResourceError("this connection was closed here")
        return descriptor

    async def write(self, data: bytes) -> None:
        """No checkpoint when the kernel takes all at once."""
        try:
            sent = self._send_now(data)
            if sent < len(data):
                await self._stream.send_all(data[sent:])
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError(str(error)) from None

    def _send_now(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor(), data)
        except BlockingIOError:
            return 0

    async def close(self) -> None:
        self.kill()

    def kill(self) -> None:
        """Close the socket at once. Tasks that wait on it are woken with an error."""
        self._stream.socket.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        try:
            host, port = self._stream.socket.getpeername()[:2]
        except OSError:
            return None
        return str(host), int(port)

    def get_transport_addresses(self) -> list[Any]:
        return []

    def get_connection_type(self) -> Any:
        raise NotImplementedError("nothing here asks for it")


class NoisePipe:
    """A `SecureChannel` over a finished Noise handshake. One message a batch, one system call a message."""

    def __init__(self, raw: RawPipe, session: ISecureConn) -> None:
        self._raw = raw
        self._session = session
        self._decrypt = session.conn.noise_state.decrypt
        self._encrypt = session.conn.noise_state.encrypt
        self._leftover = True
        self.remote_address = raw.get_remote_address()

    async def receive(self) -> bytes:
        """The next message's plaintext. Raises `ChannelClosed`, also for bytes that don't authenticate."""
        try:
            if self._leftover:  # what arrived together with the negotiation's last answer
                self._leftover = False
                if rest := self._session._drain(None):
                    return bytes(rest)
            while True:
                size = int.from_bytes(await self._raw.read(2), "big")
                if data := self._decrypt(await self._raw.read(size)):
                    return bytes(data)
        except (ConnectionClosedError, *_CRYPTO_ERRORS) as error:
            raise ChannelClosed(str(error)) from None

    async def send(self, data: bytes) -> None:
        """Encrypt and write one message (≤ 65,519 bytes); no checkpoint when the kernel takes it at once.
        Raises `ChannelClosed`."""
        sealed = self._encrypt(data)
        try:
            await self._raw.write(len(sealed).to_bytes(2, "big") + sealed)
        except ConnectionClosedError as error:
            raise ChannelClosed(str(error)) from None

    def kill(self) -> None:
        self._raw.kill()


@dataclass(frozen=True, slots=True)
class Secured:
    """A pipe to a proven and permitted peer."""

    peer: PeerId
    pipe: NoisePipe


class _PermissionedNoise(NoiseTransport):  # type: ignore[misc]
    """Noise that knows whom we may talk to."""

    def __init__(self, seed: bytes, refusal: Refusal) -> None:
        super().__init__(ed25519_key_pair(seed), noise_privkey=x25519_key_pair().private_key)
        self._refusal = refusal

    def _check(self, session: ISecureConn) -> ISecureConn:
        peer = PeerId(session.get_remote_peer().to_base58())
        reason = self._refusal(peer)
        if reason is not None:
            raise HandshakeFailed(reason.value, "refused after the handshake", peer)
        return session

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        return self._check(await super().secure_inbound(conn))

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        return self._check(await super().secure_outbound(conn, peer_id))


class Upgrader:
    """Turns sockets into `Secured` pipes, as the one or the other side."""

    def __init__(self, seed: bytes, refusal: Refusal) -> None:
        self._security = SecurityMultistream({NOISE_PROTOCOL: _PermissionedNoise(seed, refusal)})
        self._muxer: Any = GenericMultistreamSelector()
        self._muxer.add_handler(YAMUX_PROTOCOL, None)

    async def inbound(self, stream: trio.SocketStream) -> Secured:
        """As the dialled side. Raises `HandshakeFailed`. The caller sets the deadline, closes the socket."""
        raw = RawPipe(stream, initiator=False)
        return await self._upgrade(raw, lambda: self._security.secure_inbound(raw))

    async def outbound(self, stream: trio.SocketStream, expected: PeerId) -> Secured:
        """As the dialler of `expected`. Raises `HandshakeFailed`, `identity` if somebody else answers."""
        raw = RawPipe(stream, initiator=True)
        return await self._upgrade(raw, lambda: self._security.secure_outbound(raw, ID.from_base58(expected)))

    async def _upgrade(self, raw: RawPipe, secure: Callable[[], Any]) -> Secured:
        session = None
        try:
            session = await secure()
            await self._muxer.select(session, raw.is_initiator, HANDSHAKE_SECONDS)
        except HandshakeFailed:
            raise
        except PeerIDMismatchesPubkey as error:
            raise HandshakeFailed("identity", str(error)) from None
        except Exception as error:
            # A stranger's bytes go through three libraries here, none of which says what it may raise.
            if session is not None and raw.is_initiator and raw.has_ended:
                raise HandshakeFailed("not_admitted", "it closed the connection to this peer id") from None
            raise HandshakeFailed("handshake", f"{type(error).__name__}: {error}") from None
        return Secured(PeerId(session.get_remote_peer().to_base58()), NoisePipe(raw, session))


def set_socket_options(stream: trio.SocketStream) -> None:
    """No delay; give a silent peer up as fast as our pings do; keep the kernel's queue short, so that an
    urgent message never waits behind megabytes that were written before it."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        patience_ms = PING_INTERVAL_SECONDS * PING_MISSES * 1000
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms))
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_LOWAT_BYTES))
    for level, option, value in options:
        try:
            stream.setsockopt(level, option, value)
        except OSError:  # the peer is gone already: the first read will say so
            return


def _crypto_errors() -> tuple[type[Exception], ...]:
    from cryptography.exceptions import InvalidTag
    from noise.exceptions import NoiseInvalidMessage, NoiseMaxNonceError

    return (InvalidTag, NoiseInvalidMessage, NoiseMaxNonceError, ValueError)


_CRYPTO_ERRORS: Final = _crypto_errors()
