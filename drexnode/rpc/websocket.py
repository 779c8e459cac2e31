"""WebSocket `/ws`: the same calls as by POST, and subscriptions that resume from a cursor.

Events (drexnode/rpc/following.py) are `drex_subscription` notifications, each with the cursor to go on after
it. Nothing is buffered: a slow reader costs the node one block of memory. One that
takes more than `SLOW_READER_S` for an event is closed with `CLOSE_SLOW`; one that takes nothing at all can't
be told, and is cut off after `WRITE_TIMEOUT_S` (drexnode/rpc/connections.py). Subscriptions end with the
credential that opened them: `CLOSE_CREDENTIAL` within `RELOAD_S` of its end or revocation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec
import trio
from starlette.websockets import WebSocket, WebSocketDisconnect

from drexnode.rpc.credentials import RELOAD_S
from drexnode.rpc.errors import REFUSED, RpcError
from drexnode.rpc.following import Events, open_events
from primitives.errors import DrexError, InvariantViolation, StorageFailure

if TYPE_CHECKING:
    from drexnode.rpc.app import RpcApp

SLOW_READER_S = 10.0
CLOSE_SLOW = 4008
CLOSE_REFUSED = 4009
CLOSE_CREDENTIAL = 4001
CLOSE_ORIGIN = 4003
CLOSE_TOO_LARGE = 1009
MAX_SUBSCRIPTIONS = 16
"""Subscriptions of one connection."""


async def serve_websocket(websocket: WebSocket, app: RpcApp) -> None:
    """Serve one connection until it ends."""
    if not app.origin_allowed(websocket.headers.get("origin")):
        await websocket.close(CLOSE_ORIGIN)
        return
    await websocket.accept()
    async with trio.open_nursery() as nursery:
        with suppress(WebSocketDisconnect):
            await _Connection(websocket, app, nursery).run()
        nursery.cancel_scope.cancel()


class _Connection:
    """One WebSocket: a reader, and a task for each subscription."""

    def __init__(self, websocket: WebSocket, app: RpcApp, nursery: trio.Nursery) -> None:
        self._websocket = websocket
        self._app = app
        self._nursery = nursery
        self._writing = trio.Lock()
        self._scopes: dict[str, trio.CancelScope] = {}
        self._made = 0
        self._client = websocket.client.host if websocket.client else ""
        self._authorization: str | None = websocket.headers.get("authorization")

    async def run(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            body: bytes = text.encode() if text is not None else message.get("bytes") or b""
            if len(body) > self._app.config.max_body_bytes:
                await self._websocket.close(CLOSE_TOO_LARGE)
                return
            answer = await self._app.answer(body, self._authorization, self._client, self)
            if answer.body:
                await self._send(answer.body)

    def subscribe(self, kind: str, lock: bytes | None, cursor: str | None) -> str:
        """Start a task that follows. Raises `RpcError` RPC_TOO_MANY_SUBSCRIPTIONS."""
        if len(self._scopes) >= MAX_SUBSCRIPTIONS:
            message = f"a connection has at most {MAX_SUBSCRIPTIONS} subscriptions"
            raise RpcError(REFUSED, "RPC_TOO_MANY_SUBSCRIPTIONS", message)
        events = open_events(self._app.api, kind, lock, cursor)
        if self._authorization is not None and not self._made:
            self._nursery.start_soon(self._watch_credential, self._authorization)
        self._made += 1
        name, scope = str(self._made), trio.CancelScope()
        self._scopes[name] = scope
        self._nursery.start_soon(self._follow, name, scope, events)
        return name

    def unsubscribe(self, subscription: str) -> bool:
        """End the task; False when there is none of that id."""
        scope = self._scopes.pop(subscription, None)
        if scope is not None:
            scope.cancel()
        return scope is not None

    async def _watch_credential(self, authorization: str) -> None:
        """Calls are checked one by one; what a subscription is told later needs its credential, too."""
        while True:
            await trio.sleep(RELOAD_S)
            refused = self._app.subscribing_refused(authorization, self._client)
            if refused is not None:
                await self._close(CLOSE_CREDENTIAL, refused.code)
                return

    async def _follow(self, name: str, scope: trio.CancelScope, events: Events) -> None:
        with scope, self._ending():
            async with aclosing(events):
                async for cursor, event in events:
                    params = {"subscription": name, "cursor": cursor, "result": event}
                    notification = {"jsonrpc": "2.0", "method": "drex_subscription", "params": params}
                    await self._send(msgspec.json.encode(notification))

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """A subscription that can't go on ends its connection with the reason; a failing store, the node."""
        try:
            yield
        except WebSocketDisconnect:
            self._nursery.cancel_scope.cancel()
        except (StorageFailure, InvariantViolation) as failure:
            self._app.api.halt(failure)
            self._nursery.cancel_scope.cancel()
        except DrexError as refused:
            self._nursery.start_soon(self._close, CLOSE_REFUSED, refused.code)

    async def _close(self, code: int, reason: str | None = None) -> None:
        self._nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await self._websocket.close(code, reason)

    async def _send(self, body: bytes) -> None:
        with trio.move_on_after(SLOW_READER_S) as scope:
            async with self._writing:
                await self._websocket.send_text(body.decode())
        if scope.cancelled_caught:
            await self._close(CLOSE_SLOW)
