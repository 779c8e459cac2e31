"""The connections of the HTTP port: counted, bounded, and none of them able to hold the node up.

Hypercorn speaks the protocol; this accepts for it. Above `limit` a connection is closed at once, before it
costs a descriptor that the store or the peers need. A client that takes nothing for `WRITE_TIMEOUT_S` is cut
off. What fails while one is served ends that one alone, whatever its client sent. At the end all are closed,
whatever they were doing: Hypercorn shields its writes from cancellation, we do not wait.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from drexnode.rpc.http1 import HttpServer
from drexnode.telemetry import get_logger

log = get_logger("rpc")
WRITE_TIMEOUT_S = 10.0
CHUNK_BYTES = 64 * 1024
TELL_EVERY_S = 10.0
"""Failed connections are logged this often at most: who can make them fail must not fill the disk."""


class BoundedStream(trio.abc.HalfCloseableStream):
    """A TCP stream whose writes can't wait for ever."""

    def __init__(self, stream: trio.SocketStream, on_close: Callable[[BoundedStream], None]) -> None:
        self.context = WorkerContext(None)
        self._stream = stream
        self._on_close = on_close
        self.socket = stream.socket  # Hypercorn asks it for both addresses

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send in chunks. Raises `BrokenResourceError` when one is not taken in time."""
        view = memoryview(data)
        for start in range(0, len(view), CHUNK_BYTES):
            with trio.move_on_after(WRITE_TIMEOUT_S) as scope:
                await self._stream.send_all(view[start : start + CHUNK_BYTES])
            if scope.cancelled_caught:
                self.cut()
                raise trio.BrokenResourceError("the client takes nothing")

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive. At the end of the stream Hypercorn is told not to keep the connection for another request,
        or it would wait the keep-alive time for a client that is gone."""
        data = bytes(await self._stream.receive_some(max_bytes))
        if not data:
            await self.context.terminated.set()
        return data

    async def send_eof(self) -> None:
        """See trio."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """See trio."""
        self._on_close(self)
        await self._stream.aclose()

    def cut(self) -> None:
        """Close at once, from outside; whoever reads or writes gets an error."""
        self._on_close(self)
        self.socket.close()


class Connections:
    """Accepts on one listening socket for an ASGI application."""

    def __init__(
        self, app: Any, settings: Config, limit: int, tls: Callable[[], ssl.SSLContext] | None = None
    ) -> None:
        self._app = wrap_app(app, settings.wsgi_max_body_size, "asgi")
        self._settings = settings
        self._limit = limit
        self._tls = tls
        self._open: set[BoundedStream] = set()
        self._told_at = -TELL_EVERY_S
        self.refused = 0
        self.failed = 0

    async def serve(self, listener: socket.socket) -> None:
        """Serve until cancelled, then close every connection."""
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        async with trio.open_nursery() as nursery:
            try:
                await trio.serve_listeners(self._handle, [accepting], handler_nursery=nursery)
            finally:
                for stream in list(self._open):
                    stream.cut()

    async def _handle(self, accepted: trio.SocketStream) -> None:
        if len(self._open) >= self._limit:
            self.refused += 1
            await trio.aclose_forcefully(accepted)
            return
        stream = BoundedStream(accepted, self._open.discard)
        self._open.add(stream)
        try:
            outer: Any = stream
            if self._tls is not None:
                outer = trio.SSLStream(stream, self._tls(), server_side=True, https_compatible=True)
            await HttpServer(self._app, self._settings, stream.context, ConnectionState({}), outer)
        except Exception as failure:
            self._tell(failure)
        finally:
            stream.cut()

    def _tell(self, failure: Exception) -> None:
        """A fault in how a connection is served: ours or Hypercorn's, but a client's bytes brought it up."""
        self.failed += 1
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            log.error("rpc.connection_failed", error=repr(failure)[:1000], failed=self.failed)
