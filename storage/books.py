"""The second book: what is really unspent, asset by asset, kept from the rows that are inserted and deleted.

The first book is the ledger's (emitted and burned, by the arithmetic of each kind). Both are compared for
every asset a block touches, before the block is written; a difference halts the node (SUPPLY_MISMATCH).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.slices import Slices
from ledger.state import OUTPUT, SUPPLY, Change, StateReader
from ledger.supply import decode_supply
from primitives.errors import InvariantViolation
from primitives.limits import STORAGE_READS_PER_SLICE, STORAGE_ROWS_PER_SLICE
from storage.layout import BOOK, STATE, after
from storage.leveldb import Reader

Books = Mapping[bytes, int]  # asset name -> sum of its unspent outputs, smallest units

_SUPPLY = SUPPLY[0]


def load_books(reader: Reader) -> dict[bytes, int]:
    """All sums as stored. Raises `StorageFailure`."""
    cut = len(BOOK)
    return {key[cut:]: int.from_bytes(value, "big") for key, value in reader.scan(BOOK, after(BOOK))}


def book_row(asset: bytes, amount: int) -> tuple[bytes, bytes]:
    """The row that keeps an asset's sum."""
    return BOOK + asset, amount.to_bytes(16, "big")


@dataclass(frozen=True, slots=True)
class OutputChanges:
    """The outputs a delta really inserts and deletes: (state key, entry) in key order."""

    made: list[tuple[bytes, bytes]]
    gone: list[tuple[bytes, bytes]]


def output_changes(changes: Mapping[bytes, Change], keys: Sequence[bytes]) -> Slices[OutputChanges]:
    """Pick the outputs out of `changes`, whose sorted keys are `keys`, in slices."""
    made: list[tuple[bytes, bytes]] = []
    gone: list[tuple[bytes, bytes]] = []
    first, stop = bisect_left(keys, OUTPUT), bisect_left(keys, after(OUTPUT))
    for start in range(first, stop, STORAGE_ROWS_PER_SLICE):
        for key in keys[start : min(stop, start + STORAGE_ROWS_PER_SLICE)]:
            old, new = changes[key]
            if old is not None:
                gone.append((key, old))
            if new is not None:
                made.append((key, new))
        yield
    return OutputChanges(made, gone)


def next_books(
    books: Books, changes: Mapping[bytes, Change], outputs: OutputChanges, state: StateReader
) -> Slices[dict[bytes, int]]:
    """The new sums of the assets that a delta touches, compared with the ledger's supply entries; in slices.

    `state` is the state before it: an output that is deleted must lie there exactly as the delta says. (That
    one inserted is new, the state tree has checked.) Raises `InvariantViolation` (SUPPLY_MISMATCH,
    OUTPUT_MISMATCH).
    """
    sums: dict[bytes, int] = {}
    read = state.get
    for start in range(0, len(outputs.made), STORAGE_ROWS_PER_SLICE):
        for _, new in outputs.made[start : start + STORAGE_ROWS_PER_SLICE]:
            asset = new[40:]
            sums[asset] = sums.get(asset, 0) + int.from_bytes(new[32:40], "big")
        yield
    for start in range(0, len(outputs.gone), STORAGE_READS_PER_SLICE):
        for key, old in outputs.gone[start : start + STORAGE_READS_PER_SLICE]:
            if read(key) != old:
                raise InvariantViolation("OUTPUT_MISMATCH", f"{key[1:].hex()} is not what was executed")
            asset = old[40:]
            sums[asset] = sums.get(asset, 0) - int.from_bytes(old[32:40], "big")
        yield
    touched = {key[1:] for key in changes if key[0] == _SUPPLY}
    touched.update(asset for asset, change in sums.items() if change)
    updated = {asset: books.get(asset, 0) + sums.get(asset, 0) for asset in sorted(touched)}
    for asset, unspent in updated.items():
        key = SUPPLY + asset
        check_book(asset, unspent, changes[key][1] if key in changes else read(key))
    return updated


def check_book(asset: bytes, unspent: int, supply_entry: bytes | None) -> None:
    """Compare one asset's sum with its supply entry. Raises `InvariantViolation` (SUPPLY_MISMATCH)."""
    circulating = decode_supply(supply_entry).circulating
    if unspent != circulating:
        message = f"{asset.decode()}: unspent outputs sum to {unspent}, emitted - burned is {circulating}"
        raise InvariantViolation("SUPPLY_MISMATCH", message, asset=asset.decode())


def check_all_books(books: Books, reader: Reader) -> None:
    """Compare every sum with every supply entry of the state. Raises `InvariantViolation`."""
    prefix = STATE + SUPPLY
    entries = {key[len(prefix) :]: value for key, value in reader.scan(prefix, after(prefix))}
    for asset in sorted(entries.keys() | books.keys()):
        check_book(asset, books.get(asset, 0), entries.get(asset))
