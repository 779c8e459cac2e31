"""The books: emitted and burned per asset, kept by the rows' arithmetic, and compared with what is unspent.

Promise: emitted and burned only grow; emitted <= 2^63-1; circulating = emitted - burned <= cap; e-money <=
its reserve. The second book, the sum of what a delta really inserts and deletes, is computed here from the
entries alone, so that whoever commits a delta can compare both.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger import codes
from ledger.assets import WHOLESALE, AssetRecord
from ledger.state import SUPPLY, StateDelta, StateReader, StateView, read_balance
from primitives.errors import InvariantViolation
from primitives.limits import MAX_AMOUNT
from primitives.units import format_amount

_SUPPLY = SUPPLY[0]


@dataclass(frozen=True, slots=True)
class Supply:
    """What was ever emitted and burned of an asset, in smallest units."""

    emitted: int = 0
    burned: int = 0

    @property
    def circulating(self) -> int:
        """What exists now."""
        return self.emitted - self.burned


def read_supply(reader: StateReader, asset: str) -> Supply:
    """The books of an asset; zero for one that was never emitted."""
    return decode_supply(reader.get(SUPPLY + asset.encode()))


def decode_supply(value: bytes | None) -> Supply:
    """Read a supply entry; None = no entry = zero."""
    if value is None:
        return Supply()
    return Supply(int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"))


def post(view: StateView, name: str, asset: AssetRecord, change: int) -> None:
    """Book `change` of an asset (> 0 emitted, < 0 burned).

    Refuses TX_SUPPLY_OVERFLOW and TX_CAP_EXCEEDED.
    """
    supply = read_supply(view, name)
    emitted, burned = supply.emitted + max(change, 0), supply.burned + max(-change, 0)
    if emitted > MAX_AMOUNT:
        codes.refuse(
            codes.SUPPLY_OVERFLOW, f"{name}: {emitted} emitted in all, at most {MAX_AMOUNT}", asset=name
        )
    if change > 0 and asset.cap is not None and emitted - burned > asset.cap:
        codes.refuse(
            codes.CAP_EXCEEDED,
            f"{name}: {format_amount(emitted - burned, asset.decimals)} would circulate, "
            f"the cap is {format_amount(asset.cap, asset.decimals)}",
            asset=name,
        )
    if burned > emitted:
        raise InvariantViolation("BOOKS_NEGATIVE", f"{name}: burned {burned} of {emitted} emitted")
    view.put(SUPPLY + name.encode(), emitted.to_bytes(8, "big") + burned.to_bytes(8, "big"))


def check_backing(reader: StateReader, name: str, asset: AssetRecord) -> None:
    """Refuse (TX_NOT_BACKED) when more of an e-money asset circulates than its reserve lock holds in BRL."""
    circulating = read_supply(reader, name).circulating
    reserve = read_balance(reader, asset.reserve_lock, WHOLESALE)
    if circulating > reserve:
        codes.refuse(
            codes.NOT_BACKED,
            f"{name}: {format_amount(circulating, 2)} would circulate, "
            f"its reserve holds {format_amount(reserve, 2)}",
            asset=name,
            circulating=circulating,
            reserve=reserve,
        )


def booked_changes(delta: StateDelta) -> dict[str, int]:
    """Per asset, how much its circulating supply changed by the books."""
    changes: dict[str, int] = {}
    for key in delta.others:
        if key[0] == _SUPPLY:
            old, new = delta.changes[key]
            change = decode_supply(new).circulating - decode_supply(old).circulating
            if change:
                changes[key[1:].decode()] = change
    return changes


def unspent_changes(delta: StateDelta) -> dict[str, int]:
    """Per asset, how much the sum of unspent outputs changed by what is really inserted and deleted."""
    return {asset.decode(): change for asset, change in delta.sums.items() if change}


def compare_books(delta: StateDelta) -> None:
    """Raise `InvariantViolation` (BOOKS_DIFFER) when both books of a delta do not agree for every asset:
    before anyone votes for it."""
    booked, unspent = booked_changes(delta), unspent_changes(delta)
    if booked != unspent:
        raise InvariantViolation("BOOKS_DIFFER", f"booked {booked}, unspent {unspent}")
