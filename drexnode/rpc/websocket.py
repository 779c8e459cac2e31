"""WebSocket `/ws`: the same calls as by POST, and subscriptions that resume from a cursor.

Events are `drex_subscription` notifications, each with the cursor to go on after it. Nothing is buffered: a
subscription reads the chain at its own pace, so a slow reader costs the node one block of memory. One that
takes more than `SLOW_READER_S` for an event is closed with `CLOSE_SLOW`; one that takes nothing at all can't
be told, and is cut off after `WRITE_TIMEOUT_S` (drexnode/rpc/connections.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from starlette.websockets import WebSocket, WebSocketDisconnect

from drexnode.rpc.api import NodeApi
from drexnode.rpc.cursor import write_cursor
from drexnode.rpc.errors import REFUSED, RpcError
from drexnode.rpc.views import block_transaction_views, block_view, transaction_view
from primitives.limits import MAX_BLOCK_TRANSACTIONS

if TYPE_CHECKING:
    from drexnode.rpc.app import RpcApp

SLOW_READER_S = 10.0
CLOSE_SLOW = 4008
CLOSE_ORIGIN = 4003
CLOSE_TOO_LARGE = 1009
MAX_SUBSCRIPTIONS = 16
"""Subscriptions of one connection."""
END_OF_BLOCK = 2**31


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

    async def run(self) -> None:
        client = self._websocket.client.host if self._websocket.client else ""
        authorization = self._websocket.headers.get("authorization")
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            body: bytes = text.encode() if text is not None else message.get("bytes") or b""
            if len(body) > self._app.config.max_body_bytes:
                await self._websocket.close(CLOSE_TOO_LARGE)
                return
            answer = await self._app.answer(body, authorization, client, self)
            if answer.body:
                await self._send(answer.body)

    def subscribe(self, kind: str, lock: bytes | None, after: tuple[int, int] | None) -> str:
        """Start a task that follows the chain. Raises `RpcError` RPC_TOO_MANY_SUBSCRIPTIONS."""
        if len(self._scopes) >= MAX_SUBSCRIPTIONS:
            message = f"a connection has at most {MAX_SUBSCRIPTIONS} subscriptions"
            raise RpcError(REFUSED, "RPC_TOO_MANY_SUBSCRIPTIONS", message)
        self._made += 1
        name, scope = str(self._made), trio.CancelScope()
        self._scopes[name] = scope
        start = after if after is not None else (self._app.api.tip().height, END_OF_BLOCK)
        self._nursery.start_soon(self._follow, name, scope, kind, lock, start)
        return name

    def unsubscribe(self, subscription: str) -> bool:
        """End the task; False when there is none of that id."""
        scope = self._scopes.pop(subscription, None)
        if scope is not None:
            scope.cancel()
        return scope is not None

    async def _follow(
        self, name: str, scope: trio.CancelScope, kind: str, lock: bytes | None, after: tuple[int, int]
    ) -> None:
        with scope:
            async with aclosing(follow_chain(self._app.api, kind, lock, after)) as events:
                async for place, event in events:
                    cursor = write_cursor(place[0], list(place))
                    params = {"subscription": name, "cursor": cursor, "result": event}
                    notification = {"jsonrpc": "2.0", "method": "drex_subscription", "params": params}
                    await self._send(msgspec.json.encode(notification))

    async def _send(self, body: bytes) -> None:
        with trio.move_on_after(SLOW_READER_S) as scope:
            async with self._writing:
                await self._websocket.send_text(body.decode())
        if scope.cancelled_caught:
            self._nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._websocket.close(CLOSE_SLOW)


async def follow_chain(
    api: NodeApi, kind: str, lock: bytes | None, after: tuple[int, int]
) -> AsyncGenerator[tuple[tuple[int, int], dict[str, Any]], None]:
    """Yield ((height, index), event) for everything final after a place, for ever."""
    height, index = after
    if index >= END_OF_BLOCK:
        height, index = height + 1, -1
    while True:
        await api.wait_height(height)
        for place, event in await _events_at(api, kind, lock, height):
            if place > index:
                yield (height, place), event
        height, index = height + 1, -1


async def _events_at(
    api: NodeApi, kind: str, lock: bytes | None, height: int
) -> list[tuple[int, dict[str, Any]]]:
    """The events of one height, ascending by their place in the block."""
    if lock is not None:
        return await _address_events(api, lock, height)
    block = await api.block_by_height(height, full=kind != "blocks")
    if block is None:
        return []
    if kind == "blocks":
        validators = await api.validators_at(height)
        return [(END_OF_BLOCK, block_view(block, api.identity, validators, full=False))]
    return list(enumerate(block_transaction_views(block, api.identity)))


async def _address_events(api: NodeApi, lock: bytes, height: int) -> list[tuple[int, dict[str, Any]]]:
    page = await api.history(lock, height=height, before=(height + 1, 0), limit=MAX_BLOCK_TRANSACTIONS)
    events = []
    for entry in reversed(page.entries):
        stored = await api.transaction(entry.txid) if entry.height == height else None
        if stored is not None:
            events.append((entry.index, transaction_view(stored, api.identity)))
    return events
