"""The network over libp2p: TCP, Noise, yamux, multistream-select, gossipsub 1.1. Implements `p2p.transport`.

It promises: a peer that is not permitted is refused right after the Noise handshake and logged, and checked
again at every message; there is one connection a peer; half-open handshakes are bounded in number and time;
whatever bytes arrive, at worst the connection they came on ends. docs/network.md tells the wire, and which of
libp2p's defaults are replaced and why.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from p2p.addresses import Address, parse_address
from p2p.budget import TokenBucket
from p2p.identity import PeerId, peer_id_from_seed
from p2p.libp2p_extras import IDENTIFY_PROTOCOL, PING_PROTOCOL, identify_server, serve_ping
from p2p.libp2p_gossip import GOSSIP_PROTOCOL, GossipHost, GossipService
from p2p.libp2p_streams import Multistream
from p2p.libp2p_upgrade import HandshakeFailed, NoisePipe, Secured, Upgrader
from p2p.link import PROTOCOLS, REQUEST_PROTOCOL
from p2p.linked import DialFailed, LinkedTransport, Reached
from p2p.transport import ProbeStage
from primitives.limits import (
    BUDGET_HANDSHAKES_BURST,
    BUDGET_HANDSHAKES_PER_SECOND,
    HANDSHAKE_SECONDS,
    MAX_HANDSHAKE_ADDRESSES,
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_ADDRESS,
    MAX_PEERS,
)

_log = structlog.get_logger(__name__)

_REFUSAL_LOGS_PER_SECOND: Final = 5.0
_REFUSAL_LOGS_BURST: Final = 50.0


def _unheard(stage: ProbeStage) -> None:
    """Nobody follows this dial step by step."""


@asynccontextmanager
async def open_host(*, seed: bytes, network: str, listen: Sequence[str]) -> AsyncIterator[Libp2pHost]:
    """A node on the network while the context lasts. `seed` makes its identity key (32 bytes), `network`
    names the chain (gossip topics carry it), `listen` are multiaddrs, port 0 for any. Nobody is permitted
    yet. Raises `OSError` if an address can't be bound."""
    listeners: list[trio.SocketListener] = []
    for text in listen:
        address = parse_address(text)
        listeners += await trio.open_tcp_listeners(address.port, host=address.host)
    host = Libp2pHost(seed, network, listeners)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        try:
            yield host
        finally:
            nursery.cancel_scope.cancel()


class Libp2pHost(LinkedTransport):
    """`p2p.transport.Transport` over libp2p. Made by `open_host`."""

    def __init__(self, seed: bytes, network: str, listeners: list[trio.SocketListener]) -> None:
        super().__init__(peer_id_from_seed(seed))
        self._listeners = listeners
        self.listen_addresses = tuple(_listen_address(listener, self.peer_id) for listener in listeners)
        self._upgrader = Upgrader(seed, self.hub.refusal)
        self.negotiator = negotiator = Multistream()
        gossip_host = GossipHost(seed, self.ready_link, negotiator)
        self.gossip = gossip = GossipService(self.hub, network, gossip_host, self._reconnect_all)
        self.extras = {
            GOSSIP_PROTOCOL: gossip.serve,
            PING_PROTOCOL: serve_ping,
            IDENTIFY_PROTOCOL: identify_server(gossip_host),
        }
        gossip_host.protocols = (*PROTOCOLS.values(), REQUEST_PROTOCOL, *self.extras)
        self._handshakes: Counter[str] = Counter()
        self._budgets: dict[str, TokenBucket] = {}
        self._refusal_logs = TokenBucket(_REFUSAL_LOGS_PER_SECOND, _REFUSAL_LOGS_BURST, trio.current_time())

    def _reconnect_all(self) -> None:
        for peer in list(self.links):
            self.disconnect(peer)

    # --- connections in
    async def listen(self) -> None:
        if self._listeners:
            doors = [_Door(listener, self._may_knock) for listener in self._listeners]
            await trio.serve_listeners(self._accept, doors)

    def _may_knock(self, stream: trio.SocketStream) -> bool:
        """Whether this address may begin a handshake now; counted if not. Before a task is made for it."""
        address = _remote_address(stream)
        if self._budget_of(address.host).try_take(1, trio.current_time()):
            return True
        self._refused(address, "too_many", "")
        return False

    async def _accept(self, stream: trio.SocketStream) -> None:
        """Serve one inbound connection to its end. Never raises for what a stranger does."""
        address = _remote_address(stream)
        secured = await self._secure(stream, address)
        if secured is None:
            await trio.aclose_forcefully(stream)
        else:
            await self.serve_inbound(secured.peer, secured.pipe, address)

    async def _secure(self, stream: trio.SocketStream, address: Address) -> Secured | None:
        """The handshake, bounded in number and time; None and counted if it fails."""
        if (
            self._handshakes.total() >= MAX_HANDSHAKES
            or self._handshakes[address.host] >= MAX_HANDSHAKES_PER_ADDRESS
            or len(self.links) >= MAX_PEERS
        ):
            self._refused(address, "too_many", "")
            return None
        self._handshakes[address.host] += 1
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                return await self._upgrader.inbound(stream)
        except HandshakeFailed as failed:
            self._refused(address, failed.reason, failed.detail, failed.peer)
        except trio.TooSlowError:
            self._refused(address, "handshake_timeout", "")
        finally:
            self._handshakes[address.host] -= 1
            if not self._handshakes[address.host]:
                del self._handshakes[address.host]
        return None

    def _budget_of(self, host: str) -> TokenBucket:
        """How many handshakes an address may still begin: each costs us about a millisecond of processor, a
        connection that is turned away at the door 40 µs."""
        budget = self._budgets.pop(host, None)
        if budget is None:
            budget = TokenBucket(BUDGET_HANDSHAKES_PER_SECOND, BUDGET_HANDSHAKES_BURST, trio.current_time())
        self._budgets[host] = budget  # the last in order is the last that came
        if len(self._budgets) > MAX_HANDSHAKE_ADDRESSES:
            del self._budgets[next(iter(self._budgets))]
        return budget

    def _refused(self, address: Address, reason: str, detail: str, peer: PeerId | None = None) -> None:
        self.hub.refused_connections[reason] += 1
        if self._refusal_logs.try_take(1, trio.current_time()):
            _log.warning("connection_refused", address=str(address), reason=reason, detail=detail, peer=peer)

    # --- connections out
    async def connect(self, peer: PeerId, address: Address, reached: Reached = _unheard) -> NoisePipe:
        """Dial, and prove that `peer` answers. Raises `DialFailed`."""
        try:
            stream = await trio.open_tcp_stream(address.host, address.port)
        except OSError as error:
            raise DialFailed(_dial_failure(error), str(error)) from None
        reached(ProbeStage.TCP)
        try:
            pipe = (await self._upgrader.outbound(stream, peer)).pipe
            reached(ProbeStage.IDENTITY)
            return pipe
        except HandshakeFailed as failed:
            stream.socket.close()
            raise DialFailed(failed.reason, failed.detail) from None
        except BaseException:
            stream.socket.close()
            raise

    async def knock(self, address: Address) -> tuple[str, str] | None:
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                stream = await trio.open_tcp_stream(address.host, address.port)
        except trio.TooSlowError:
            return "timeout", f"{HANDSHAKE_SECONDS} s"
        except OSError as error:
            return _dial_failure(error), str(error)
        await trio.aclose_forcefully(stream)
        return None


class _Door(trio.abc.Listener[trio.SocketStream]):
    """A listener that closes at once what `may_enter` turns away."""

    def __init__(self, listener: trio.SocketListener, may_enter: Callable[[trio.SocketStream], bool]) -> None:
        self._listener = listener
        self._may_enter = may_enter

    async def accept(self) -> trio.SocketStream:
        """See trio."""
        while True:
            stream = await self._listener.accept()
            if self._may_enter(stream):
                return stream
            stream.socket.close()

    async def aclose(self) -> None:
        """See trio."""
        await self._listener.aclose()


def _listen_address(listener: trio.SocketListener, peer: PeerId) -> str:
    host, port = listener.socket.getsockname()[:2]
    return str(Address(host, port, peer))


def _remote_address(stream: trio.SocketStream) -> Address:
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:  # gone already
        return Address("0.0.0.0", 0)
    return Address(host, port)


def _dial_failure(error: OSError) -> str:
    """A label for what went wrong. `open_tcp_stream` wraps what each of a name's addresses said."""
    causes = [error, error.__cause__, *getattr(error.__cause__, "exceptions", ())]
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            return "refused"
        if isinstance(cause, socket.gaierror):
            return "name"
        if isinstance(cause, TimeoutError):
            return "timeout"
        if isinstance(cause, OSError) and cause.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return "unreachable"
    return "other"
