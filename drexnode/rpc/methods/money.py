"""Balances, unspent outputs, history, supply, assets and participants."""

from __future__ import annotations

from typing import Any

from drexnode import client_values
from drexnode.rpc import answers
from drexnode.rpc.cursor import read_history_cursor, read_unspent_cursor, write_cursor
from drexnode.rpc.errors import REFUSED, RpcError
from drexnode.rpc.examples import ADDRESS
from drexnode.rpc.params import DEFAULT_ROWS, Address, Asset, Cursor, Limit, MaybeAsset
from drexnode.rpc.registry import Context, method
from drexnode.rpc.views import asset_view, participant_view, unspent_view
from primitives.address import encode_address


@method(
    "drex_getBalance",
    "per asset {total, frozen, free}",
    dict[str, client_values.Balance],
    rest="GET /addresses/{address}/balance",
    example=(ADDRESS,),
)
async def get_balance(context: Context, address: Address) -> dict[str, Any]:
    """What an address holds: an object of asset names, amounts in smallest units as text."""
    found = await context.api.balances(address)
    return {
        asset: {
            "total": str(balance.total),
            "frozen": str(balance.frozen),
            "free": str(max(0, balance.total - balance.frozen)),
        }
        for asset, balance in sorted(found.assets.items())
    }


def _text(context: Context, lock: bytes) -> str:
    return encode_address(context.api.identity.address_prefix, lock)


@method(
    "drex_getUTXOsForAddress",
    "{height, address, outputs, cursor}",
    client_values.UnspentPage,
    rest="GET /addresses/{address}/outputs",
    example=(ADDRESS, "BRL"),
)
async def get_utxos(
    context: Context,
    address: Address,
    asset: MaybeAsset = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_ROWS,
) -> dict[str, Any]:
    """Unspent outputs of an address, of one asset or all, page by page at one height."""
    height, after = read_unspent_cursor(cursor)
    page = await context.api.unspent(address, asset, height=height, after=after, limit=limit)
    return {
        "height": page.height,
        "address": _text(context, address),
        "outputs": [unspent_view(item, context.api.identity) for item in page.outputs],
        "cursor": None if page.after is None else write_cursor(page.height, page.after),
    }


@method(
    "drex_getHistory",
    "{height, address, entries, cursor}",
    client_values.HistoryPage,
    rest="GET /addresses/{address}/history",
    example=(ADDRESS,),
)
async def get_history(
    context: Context, address: Address, cursor: Cursor = None, limit: Limit = DEFAULT_ROWS
) -> dict[str, Any]:
    """Final transactions that spent from or paid to an address, newest first."""
    height, before = read_history_cursor(cursor)
    page = await context.api.history(address, height=height, before=before, limit=limit)
    entries = [{"height": item.height, "index": item.index, "txid": item.txid.hex()} for item in page.entries]
    return {
        "height": page.height,
        "address": _text(context, address),
        "entries": entries,
        "cursor": None if page.before is None else write_cursor(page.height, list(page.before)),
    }


@method(
    "drex_getSupply",
    "{asset, height, emitted, burned, circulating}",
    client_values.Supply,
    rest="GET /supply",
    example=("BRL",),
)
async def get_supply(context: Context, asset: Asset) -> dict[str, Any]:
    """What was ever emitted and burned of an asset, and what circulates."""
    supply = await context.api.supply(asset)
    if supply is None:
        raise RpcError(REFUSED, "RPC_ASSET_UNKNOWN", f"no asset {asset!r} is registered", asset=asset)
    return {
        "asset": asset,
        "height": supply.height,
        "emitted": str(supply.emitted),
        "burned": str(supply.burned),
        "circulating": str(supply.emitted - supply.burned),
    }


@method("drex_getAssets", "list of assets", list[client_values.Asset], rest="GET /assets")
async def get_assets(context: Context) -> list[dict[str, Any]]:
    """All registered assets and their policies."""
    return [asset_view(item, context.api.identity) for item in await context.api.assets()]


@method("drex_getParticipants", "list of participants", list[answers.Participant], rest="GET /participants")
async def get_participants(context: Context) -> list[dict[str, Any]]:
    """All registered participants."""
    return [participant_view(item, context.api.identity) for item in await context.api.participants()]
