"""Subscribing to what becomes final, over the WebSocket."""

from __future__ import annotations

from typing import Annotated, Any

from drexnode.rpc.errors import REFUSED, RpcError, invalid_params
from drexnode.rpc.params import Address, Cursor, ParamType
from drexnode.rpc.registry import Connection, Context, method

KINDS = ("blocks", "transactions", "address", "consensus", "alerts")


def _kind(value: Any, _: Context) -> str:
    if value not in KINDS:
        raise invalid_params(f"one of {', '.join(KINDS)} is expected")
    return str(value)


def _maybe_address(value: Any, context: Context) -> bytes | None:
    return None if value is None else Address.__metadata__[0].read(value, context)  # type: ignore[attr-defined]


Kind = Annotated[str, ParamType(_kind, {"enum": list(KINDS)})]
MaybeAddress = Annotated[bytes | None, ParamType(_maybe_address, {"type": ["string", "null"]})]


@method("drex_subscribe", "subscription id", str, example=("blocks",))
async def subscribe(context: Context, kind: Kind, address: MaybeAddress = None, cursor: Cursor = None) -> str:
    """Receive blocks, transactions, an address's ones, consensus or alerts, from now or after a cursor."""
    if (kind == "address") != (address is not None):
        raise invalid_params('an address is given with "address", and only with it')
    return _connection(context).subscribe(kind, address, cursor)


@method("drex_unsubscribe", "true or false", bool, example=("1",))
async def unsubscribe(context: Context, subscription: Cursor) -> bool:
    """End a subscription of this connection."""
    return _connection(context).unsubscribe(subscription or "")


def _connection(context: Context) -> Connection:
    if context.connection is None:
        raise RpcError(REFUSED, "RPC_NEEDS_WEBSOCKET", "subscriptions need a WebSocket: connect to /ws")
    return context.connection
