"""What becomes final, as it does: a subscription over the node's WebSocket that survives lost connections.

    async with open_events(url, "blocks") as events:
        async for event in events: …

A connection that breaks is made again and resumes after the last cursor, so that no event is lost or told
twice; a first connection that fails, a refusal, and a node that stays away for `patience_s` raise. Nothing is
buffered beyond the socket: the next event is read when the last one was taken.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from drexnode.client import NodeUnreachable, RpcRefused
from drexnode.client_tls import client_context
from primitives.errors import DrexError

MAX_EVENT_BYTES = 64 << 20
RETRY_S = 1.0
CLOSE_S = 1.0
PATIENCE_S = 60.0
_DISCONNECTED = (ConnectionClosed, HandshakeError, OSError)


@dataclass(frozen=True, slots=True)
class Event:
    """One event; a subscription that gives `cursor` goes on after it."""

    cursor: str
    result: dict[str, Any]


@asynccontextmanager
async def open_events(
    url: str,
    kind: str,
    address: str | None = None,
    cursor: str | None = None,
    *,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    patience_s: float = PATIENCE_S,
) -> AsyncGenerator[trio.MemoryReceiveChannel[Event], None]:
    """A channel of the events of a kind (docs/rpc.md, "Subscriptions"), from now on or after `cursor`.

    Raises `NodeUnreachable` NODE_UNREACHABLE, `RpcRefused` with the node's code.
    """
    told, events = trio.open_memory_channel[Event](0)
    follower = _Follower(url, kind, address, cursor, told, patience_s, token, tls)
    try:
        async with trio.open_nursery() as nursery, events:
            nursery.start_soon(follower.run)
            yield events
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _what_matters(group) from None


def _what_matters(error: BaseException) -> BaseException:
    """The one error of a group that says why: ours before any other."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [_what_matters(item) for item in error.exceptions]
    return sorted(causes, key=lambda cause: not isinstance(cause, DrexError))[0]


class _Follower:
    """Keeps one subscription alive, connection after connection."""

    def __init__(
        self,
        url: str,
        kind: str,
        address: str | None,
        cursor: str | None,
        told: trio.MemorySendChannel[Event],
        patience_s: float,
        token: str | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._url, self._kind, self._address, self._cursor = url, kind, address, cursor
        self._told = told
        self._token, self._tls = token, tls
        self._patience_s = patience_s
        self._subscribed = False
        self._away_since: float | None = None

    async def run(self) -> None:
        while True:
            try:
                await self._connect()
            except* _DISCONNECTED as group:
                self._bear(_what_matters(group))
            await trio.sleep(RETRY_S)

    def _bear(self, cause: BaseException) -> None:
        """A connection failed: try again, or give up."""
        now = trio.current_time()
        self._away_since = now if self._away_since is None else self._away_since
        if not self._subscribed or now - self._away_since >= self._patience_s:
            why = str(cause) or type(cause).__name__
            message = f"no node answers at {self._url}: {why}"
            raise NodeUnreachable("NODE_UNREACHABLE", message, url=self._url) from None

    async def _connect(self) -> None:
        """One connection, until it breaks."""
        async with _open_socket(self._url, self._token, self._tls) as socket:
            params = [self._kind, self._address, self._cursor]
            request = {"jsonrpc": "2.0", "id": 1, "method": "drex_subscribe", "params": params}
            await socket.send_message(json.dumps(request))
            answer = await _read(socket)
            if "error" in answer:
                data = dict(answer["error"].get("data") or {})
                code = str(data.pop("code", "RPC_ERROR"))
                raise RpcRefused(code, str(answer["error"].get("message")), **data)
            self._subscribed, self._away_since = True, None
            while True:
                message = await _read(socket)
                if message.get("method") == "drex_subscription":
                    event = Event(str(message["params"]["cursor"]), message["params"]["result"])
                    await self._told.send(event)
                    self._cursor = event.cursor


@asynccontextmanager
async def _open_socket(
    url: str, token: str | None, tls: ssl.SSLContext | None
) -> AsyncGenerator[WebSocketConnection, None]:
    """The node's WebSocket; its stream is closed however this ends, also when the handshake fails."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    host, secure = parts.hostname or "127.0.0.1", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    if secure:
        stream = trio.SSLStream(stream, tls or client_context(), server_hostname=host, https_compatible=True)
    async with stream, trio.open_nursery() as nursery:
        socket = await wrap_client_stream(
            nursery,
            stream,
            f"{host}:{port}",
            "/ws",
            max_message_size=MAX_EVENT_BYTES,
            extra_headers=[] if token is None else [(b"authorization", f"Bearer {token}".encode())],
        )
        try:
            yield socket
        finally:
            with trio.move_on_after(CLOSE_S) as scope:
                scope.shield = True
                await socket.aclose()
            nursery.cancel_scope.cancel()


async def _read(socket: WebSocketConnection) -> dict[str, Any]:
    try:
        message = json.loads(await socket.get_message())
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise RpcRefused("RPC_UNEXPECTED", "the node answered something else than JSON-RPC")
    return message
