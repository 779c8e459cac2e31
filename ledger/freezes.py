"""Freezes: one entry per (lock, asset, author, order id), and their running sum, the floor.

Promise: the floor of (lock, asset) is the sum of its entries, with BCB's part apart; it is absent when no
entry stands. Sums have 128 bits, so no author can crowd out another's order.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger import codes
from ledger.assets import get_asset
from ledger.payloads import Freeze, Unfreeze
from ledger.state import FLOOR, FREEZE, StateReader, StateView

_SUM_BYTES = 16


class Floor(NamedTuple):
    """What is frozen of (lock, asset): by everybody, and of that by BCB."""

    total: int
    by_bcb: int


def freeze_key(lock: bytes, asset: str, author: str, order_id: bytes) -> bytes:
    """State key of one freeze: `f` + lock(32) + length(1) + asset name + author(8) + order id."""
    name = asset.encode()
    return FREEZE + lock + bytes([len(name)]) + name + author.encode() + order_id


def read_floor(reader: StateReader, lock: bytes, asset: str) -> Floor:
    """What may not leave (lock, asset) by the holder's act; zero when nothing is frozen."""
    value = reader.get(FLOOR + lock + asset.encode())
    if value is None:
        return Floor(0, 0)
    return Floor(int.from_bytes(value[:_SUM_BYTES], "big"), int.from_bytes(value[_SUM_BYTES:], "big"))


def add_freeze(view: StateView, order: Freeze, *, by_bcb: bool) -> None:
    """Let a freeze stand. Refuses TX_ORDER_EXISTS for an author's order id that stands there already."""
    get_asset(view, order.asset)
    key = freeze_key(order.lock, order.asset, order.author, order.order_id)
    if view.get(key) is not None:
        codes.refuse(
            codes.ORDER_EXISTS,
            f"order {order.order_id.hex()} of {order.author} stands on this lock and asset already",
            order_id=order.order_id.hex(),
        )
    view.put(key, order.amount.to_bytes(8, "big"))
    _change_floor(view, order.lock, order.asset, order.amount, by_bcb=by_bcb)


def lift_freeze(view: StateView, order: Unfreeze, *, by_bcb: bool) -> None:
    """Remove a standing freeze, `by_bcb` when BCB is its author. Refuses TX_ORDER_UNKNOWN."""
    key = freeze_key(order.lock, order.asset, order.author, order.order_id)
    value = view.get(key)
    if value is None:
        codes.refuse(
            codes.ORDER_UNKNOWN,
            f"no order {order.order_id.hex()} of {order.author} stands on this lock and asset",
            order_id=order.order_id.hex(),
        )
    view.delete(key)
    _change_floor(view, order.lock, order.asset, -int.from_bytes(value, "big"), by_bcb=by_bcb)


def _change_floor(view: StateView, lock: bytes, asset: str, change: int, *, by_bcb: bool) -> None:
    floor = read_floor(view, lock, asset)
    total, bcb = floor.total + change, floor.by_bcb + (change if by_bcb else 0)
    value = total.to_bytes(_SUM_BYTES, "big") + bcb.to_bytes(_SUM_BYTES, "big")
    view.put(FLOOR + lock + asset.encode(), value if total else None)
