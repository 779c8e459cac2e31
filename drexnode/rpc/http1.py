"""HTTP/1.1 and WebSockets on one connection, and nothing else that Hypercorn offers beside them.

Promise: no upgrade to HTTP/2 (a second protocol, a hundred requests at a time on one counted connection) and
no compressed WebSocket messages: 64 KiB on the wire would be 64 MiB in memory before any bound is looked at.
An offer of either is passed over, as RFC 9110 (7.8) and RFC 6455 (9.1) let a server do.

A request costs one system call to answer and no task to wait for the next one: Hypercorn sends head and body
apart and starts a task for each pause, which together were a third of a small request's time.
"""

from __future__ import annotations

from math import inf
from typing import Any

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.typing import ConnectionState, H11SendableEvent
from hypercorn.utils import parse_socket_addr

EXTENSIONS = b"sec-websocket-extensions"


class HttpServer(TCPServer):  # type: ignore[misc]
    """Serves one accepted stream, TLS or not, until it ends."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._idle_until = inf
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        """The handshake within its time, then requests. As Hypercorn's, with our protocol in the middle."""
        transport = self.stream
        is_tls = isinstance(self.stream, trio.SSLStream)
        if is_tls:
            try:
                with trio.fail_after(self.config.ssl_handshake_timeout):
                    await self.stream.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                return
            transport = self.stream.transport_stream
        try:
            await self._serve(transport.socket, is_tls)
        except OSError:
            pass  # the client is gone
        finally:
            await self._close()

    async def _serve(self, socket: trio.socket.SocketType, is_tls: bool) -> None:
        client = parse_socket_addr(socket.family, socket.getpeername())
        server = parse_socket_addr(socket.family, socket.getsockname())
        async with TaskGroup() as tasks:
            self._task_group = tasks
            self.protocol = _Http1Only(
                self.app, self.config, self.context, tasks, ConnectionState(self.state), is_tls, client,
                server, self.protocol_send,
            )  # fmt: skip
            await self.protocol.initiate()
            self._set_idle(True)
            await self._read_data()

    async def protocol_send(self, event: Event) -> None:
        """What the protocol wants done: bytes sent, the connection closed, or a pause begun or ended."""
        if isinstance(event, Updated):
            self._set_idle(event.idle)
        else:
            await super().protocol_send(event)

    def _set_idle(self, idle: bool) -> None:
        """From the end of one request the head of the next has `keep_alive_timeout` to be there."""
        self._idle_until = trio.current_time() + self.config.keep_alive_timeout if idle else inf
        self._reading.deadline = min(self._reading.deadline, self._idle_until)

    async def _read_data(self) -> None:
        """Hand on what arrives until the client ends it or takes too long."""
        while True:
            until = min(self._idle_until, trio.current_time() + self.config.read_timeout)
            data = b""
            try:
                with trio.CancelScope(deadline=until) as self._reading:
                    data = bytes(await self.stream.receive_some(MAX_RECV))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            if self._reading.cancelled_caught:
                break
            await self.protocol.handle(RawData(data))
            if not data:
                break
        await self.protocol.handle(Closed())


class _Http1Only(ProtocolWrapper):  # type: ignore[misc]
    """Ends a connection that begins as HTTP/2."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.protocol: H11Protocol = _Http1(*given)

    async def handle(self, event: Event) -> None:
        """Pass bytes on."""
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError:
            await self.send(Closed())


class _Http1(H11Protocol):  # type: ignore[misc]
    _head = b""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """A response's head waits for what follows it, a body or the end."""
        try:
            data = self._head + self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return  # nobody is there who would read it
        self._head = data if isinstance(event, h11.Response) else b""
        if data and not self._head:
            await self.send(RawData(data))

    async def _check_protocol(self, event: h11.Request) -> None:
        """No upgrade is looked at; the first line of HTTP/2 is no request of ours."""
        if event.http_version not in (b"1.0", b"1.1"):
            raise H2ProtocolAssumedError(b"")

    async def _create_stream(self, request: h11.Request) -> None:
        kept = [(name, value) for name, value in request.headers if name != EXTENSIONS]
        if len(kept) != len(request.headers):
            request = h11.Request(
                method=request.method, headers=kept, target=request.target, http_version=request.http_version
            )
        await super()._create_stream(request)
