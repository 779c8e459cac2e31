"""What a subscriber is told, event after event, each with the cursor to go on after it (docs/rpc.md).

Nothing is buffered for a subscriber: blocks, transactions and an address's transactions are read from the
chain at the reader's pace, consensus and alerts from the node's bounded memory of them. A reader that falls
out of that memory ends with CURSOR_EXPIRED: there is never a gap that nobody speaks of.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from drexnode.rpc.api import NodeApi
from drexnode.rpc.cursor import read_event_cursor, read_history_cursor, write_cursor
from drexnode.rpc.events_api import EventLog
from drexnode.rpc.views import block_transaction_views, block_view, transaction_view
from primitives.limits import MAX_BLOCK_TRANSACTIONS

END_OF_BLOCK = 2**31
LOGGED = ("consensus", "alerts")
Events = AsyncGenerator[tuple[str, dict[str, Any]], None]
"""(cursor, event)"""


def open_events(api: NodeApi, kind: str, lock: bytes | None, cursor: str | None) -> Events:
    """The events of a kind after a cursor, or from now on.

    Raises at once `RpcError` RPC_INVALID_PARAMS (no cursor of this kind) and `DrexError` CURSOR_EXPIRED.
    """
    if kind in LOGGED:
        log, place = api.events(kind), read_event_cursor(kind, cursor)
        if place is None:
            return follow_log(log, log.last)
        log.check(*place)
        return follow_log(log, place[1])
    _, after = read_history_cursor(cursor)
    return follow_chain(api, kind, lock, (api.tip().height, END_OF_BLOCK) if after is None else after)


async def follow_log(log: EventLog, number: int) -> Events:
    """Every event after a number, for ever. Raises `DrexError` CURSOR_EXPIRED."""
    while True:
        for at, event in await log.after(number):
            yield write_cursor(log.epoch, [log.kind, at]), event
            number = at


async def follow_chain(api: NodeApi, kind: str, lock: bytes | None, after: tuple[int, int]) -> Events:
    """Everything final after (height, index), for ever."""
    height, index = after
    if index >= END_OF_BLOCK:
        height, index = height + 1, -1
    while True:
        await api.wait_height(height)
        for place, event in await _events_at(api, kind, lock, height):
            if place > index:
                yield write_cursor(height, [height, place]), event
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
