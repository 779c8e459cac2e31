"""The state as of the tip: RAM first, LevelDB behind it. Implements `ledger.state.StateReader`.

Promises: every read is as of one block, the applied tip, whatever is being written meanwhile (reads go to a
LevelDB snapshot taken when the tip was applied); `apply` takes a block's changes over at once and in constant
time, and `settle` then sorts them into the hot set in slices; nothing it answers was read unchecked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from ledger.slices import Slices
from ledger.state import OUTPUT, Change, RuleFacts
from primitives.limits import STORAGE_ROWS_PER_SLICE
from storage.hot_set import HotSet, HotSetFigures
from storage.layout import STATE, after
from storage.leveldb import Database, Snapshot

_NO_CHANGES: Mapping[bytes, Change] = {}


class StateStore:
    """Reads of the committed state. Belongs to one thread (the event loop's)."""

    def __init__(self, database: Database, hot_set_bytes: int) -> None:
        self._database = database
        self._view: Snapshot = database.snapshot()
        self._hot = HotSet(hot_set_bytes)
        self._hot_get = self._hot.get
        self._fresh: Mapping[bytes, Change] = _NO_CHANGES  # the tip's changes, until they are settled
        self._settling: Slices[None] | None = None
        self._view_is_kept = False
        self.shared_facts = RuleFacts()  # true as of the applied tip, for every view of it

    @property
    def view(self) -> Snapshot:
        """The whole database as of the applied tip; valid until the next `apply`."""
        return self._view

    def keep_view(self) -> Snapshot:
        """Take the current view over: `apply` leaves it open, and the caller closes it some day."""
        self._view_is_kept = True
        return self._view

    def get(self, key: bytes) -> bytes | None:
        """The value of a state key at the applied tip, or None. Raises `StorageFailure`."""
        change = self._fresh.get(key)
        if change is not None:
            return change[1]
        value = self._hot_get(key)
        if value is None and not self._hot.is_complete:
            value = self._view.get(STATE + key)
            if value is not None:
                self._hot.put(key, value)
        return value

    def warm(self) -> dict[bytes, int]:
        """Load the state into RAM until it is all there or the bound is reached; blocking, at start.

        Returns the sum of the unspent outputs per asset name when the whole state was read, for comparison
        with the books; an empty dictionary otherwise.
        """
        sums: dict[bytes, int] = {}
        self._hot.is_complete = self._hot.load(self._entries_summed(sums))
        return sums if self._hot.is_complete else {}

    def _entries_summed(self, sums: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
        """Every state entry in key order; adds the outputs up by asset name on the way."""
        cut, output, number = len(STATE), OUTPUT[0], int.from_bytes
        for row, value in self._view.scan(STATE, after(STATE)):
            if row[cut] == output:
                asset = value[40:]
                sums[asset] = sums.get(asset, 0) + number(value[32:40], "big")
            yield row[cut:], value

    def apply(self, changes: Mapping[bytes, Change], *, changes_rules: bool = True) -> None:
        """Make a block's durable changes the state that `get` answers from. Settles the block before.
        `changes_rules`: any of them is of `ledger.state.RULE_CATEGORIES`."""
        self.settle_now()
        if changes_rules:
            self.shared_facts = RuleFacts()
        before, self._view = self._view, self._database.snapshot()
        if not self._view_is_kept:
            before.close()
        self._view_is_kept = False
        self._fresh = changes
        self._settling = self._settle(changes)

    def settle(self) -> Slices[None]:
        """Sort the last block's changes into the hot set, yielding every few hundred rows. Optional: the
        next `apply` does what is left."""
        while self._settling is not None:
            try:
                next(self._settling)
            except StopIteration:
                return
            yield

    def settle_now(self) -> None:
        """Finish `settle` without a pause."""
        for _ in self.settle():
            pass

    def figures(self) -> HotSetFigures:
        """Entries, bytes, hits and misses of the hot set."""
        return self._hot.figures()

    def reopen(self) -> None:
        """Open the database again (see `Database.reopen`) and read from it as of the same tip. Before the
        first block: nobody may hold a view. Raises `StorageFailure`."""
        self._view.close()
        self._database.reopen()
        self._view = self._database.snapshot()

    def close(self) -> None:
        """Release the snapshot."""
        if not self._view_is_kept:
            self._view.close()

    def _settle(self, changes: Mapping[bytes, Change]) -> Slices[None]:
        rows = iter(changes.items())
        while slice_of_rows := list(itertools.islice(rows, STORAGE_ROWS_PER_SLICE)):
            self._hot.apply(slice_of_rows)
            yield
        self._fresh = _NO_CHANGES
        self._settling = None
