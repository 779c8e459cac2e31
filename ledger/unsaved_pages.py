"""Pages of the state tree that committed patches wrote and that the store need not have yet, by part.

The buckets are cut into at most `TREE_PARTS` parts of neighbours, whole groups each, so that a store can save
one part after another. Promises: of a page the last one taken is held until its part is let go; `size_bytes`
counts what the pages and the map take, though a cache may hold the same pages. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from ledger.tree_pages import bucket_page_key
from primitives.limits import TREE_ARITY, TREE_PARTS

Page = tuple[bytes, bytes | None]

_OVERHEAD_BYTES = 150  # a key, a slot of the map and the page's own head


class UnsavedPages:
    """Pages by key, None for one that is deleted. One thread at a time."""

    def __init__(self, bucket_count: int) -> None:
        self.part_count = min(TREE_PARTS, bucket_count // TREE_ARITY)
        self._shift = (bucket_count // self.part_count).bit_length() - 1
        self._parts: list[dict[bytes, bytes | None]] = [{} for _ in range(self.part_count)]
        self._sizes = [0] * self.part_count
        self._total = 0
        self._ends = [(bucket_page_key((part + 1) << self._shift),) for part in range(self.part_count)]

    @property
    def size_bytes(self) -> int:
        """Counted bytes of all that is held."""
        return self._total

    def part_of(self, bucket: int) -> int:
        """The part that a bucket lies in."""
        return bucket >> self._shift

    def part(self, number: int) -> Mapping[bytes, bytes | None]:
        """The pages of a part."""
        return self._parts[number]

    def part_bytes(self, number: int) -> int:
        """Counted bytes of a part."""
        return self._sizes[number]

    def find(self, page_key: bytes) -> Page | None:
        """The page that is held under a key, with the key; None when none is."""
        held = self._parts[int.from_bytes(page_key[1:5], "big") >> self._shift]
        return (page_key, held[page_key]) if page_key in held else None

    def take(self, pages: Sequence[Page]) -> None:
        """Hold pages, which are in the order of their buckets, in place of those held under their keys."""
        start = 0
        while start < len(pages):
            number = int.from_bytes(pages[start][0][1:5], "big") >> self._shift
            stop = bisect_left(pages, self._ends[number], start)
            held, run = self._parts[number], dict(pages[start:stop])
            count = len(held)
            grown = sum(map(len, filter(None, run.values())))
            grown -= sum(map(len, filter(None, map(held.get, run))))
            held.update(run)
            grown += (len(held) - count) * _OVERHEAD_BYTES
            self._sizes[number] += grown
            self._total += grown
            start = stop

    def let_go(self, number: int) -> None:
        """The store has the pages of a part by now."""
        self._parts[number] = {}
        self._total -= self._sizes[number]
        self._sizes[number] = 0
