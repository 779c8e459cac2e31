"""The second book: what is really unspent, asset by asset, kept from the rows that are inserted and deleted.

The first book is the ledger's (emitted and burned, by the arithmetic of each kind). Both are compared for
every asset a block touches, before the block is written; a difference halts the node (SUPPLY_MISMATCH).
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger.slices import Slices
from ledger.state import SUPPLY, StateDelta, StateReader
from ledger.supply import decode_supply
from primitives.errors import InvariantViolation
from primitives.limits import STORAGE_READS_PER_SLICE
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


def next_books(books: Books, delta: StateDelta, state: StateReader) -> Slices[dict[bytes, int]]:
    """The new sums of the assets that a delta touches, compared with the ledger's supply entries; in slices.

    `state` is the state before it: an output that is deleted must lie there exactly as the delta says. (That
    one inserted is new, the state tree has checked.) Raises `InvariantViolation` (SUPPLY_MISMATCH,
    OUTPUT_MISMATCH).
    """
    read, gone, sums = state.get, delta.gone, delta.sums
    for start in range(0, len(gone), STORAGE_READS_PER_SLICE):
        for key, old in gone[start : start + STORAGE_READS_PER_SLICE]:
            if read(key) != old:
                raise InvariantViolation("OUTPUT_MISMATCH", f"{key[1:].hex()} is not what was executed")
        yield
    touched = {key[1:] for key in delta.others if key[0] == _SUPPLY}
    touched.update(asset for asset, change in sums.items() if change)
    updated = {asset: books.get(asset, 0) + sums.get(asset, 0) for asset in sorted(touched)}
    for asset, unspent in updated.items():
        key = SUPPLY + asset
        check_book(asset, unspent, delta.changes[key][1] if key in delta.changes else read(key))
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
