"""Bucket pages of the state tree in RAM, up to a bound: each bucket's first page in a list, others in a map.

Promises: after `trim` never more than `limit_bytes`, as counted by `first_bytes` and `lower_bytes`; never the
truth, so any page may be missing. A list of places costs 8 bytes a bucket and a look is one index: a map from
keys to pages costs another 150 bytes a page, and four misses of the processor's cache. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

FIRST_KEY_BYTES = 5
"""A bucket's first page is b"p" and the bucket's number (`ledger.tree_pages.bucket_page_key`)."""

_FIRST_OVERHEAD_BYTES = 48  # a bytes object's head and its rounding to 16
_LOWER_OVERHEAD_BYTES = 200  # the same twice, and a slot of the map


def first_bytes(page: bytes) -> int:
    """What a bucket's first page costs in RAM."""
    return len(page) + _FIRST_OVERHEAD_BYTES


def lower_bytes(page: bytes) -> int:
    """What a page below a split costs in RAM."""
    return len(page) + _LOWER_OVERHEAD_BYTES


class PageCache:
    """A bounded map from page key to page. One thread at a time."""

    def __init__(self, bucket_count: int, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.first: list[bytes | None] = [None] * bucket_count
        """The first page of each bucket, by number; None when it is not in RAM. Read only."""
        self.lower: dict[bytes, bytes] = {}
        """Pages below splits by key, the oldest first. Read only."""
        self._first_bytes = self._lower_bytes = 0
        self._hand = 0  # the bucket whose first page goes next

    @property
    def held_bytes(self) -> int:
        """Counted bytes of the pages held."""
        return self._first_bytes + self._lower_bytes

    def get(self, page_key: bytes) -> bytes | None:
        """The page, or None when it is not in RAM."""
        if len(page_key) == FIRST_KEY_BYTES:
            return self.first[int.from_bytes(page_key[1:], "big")]
        return self.lower.get(page_key)

    def put(self, pages: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Hold these pages in place of what is held under their keys; None lets one go. `trim` later."""
        first, lower, number = self.first, self.lower, int.from_bytes
        for key, page in pages:
            if len(key) == FIRST_KEY_BYTES:
                bucket = number(key[1:], "big")
                before, first[bucket] = first[bucket], page
                if before is not None:
                    self._first_bytes -= len(before) + _FIRST_OVERHEAD_BYTES
                if page is not None:
                    self._first_bytes += len(page) + _FIRST_OVERHEAD_BYTES
            else:
                before = lower.pop(key, None)
                if before is not None:
                    self._lower_bytes -= lower_bytes(before)
                if page is not None:
                    lower[key] = page
                    self._lower_bytes += lower_bytes(page)

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> bool:
        """Fill an empty cache with first pages by (key, page) until one does not fit; whether all did. Rows
        of other keys are passed over. Cheaper than `put`: a start loads a million."""
        first, limit, size, number = self.first, self.limit_bytes, 0, int.from_bytes
        count = len(first)
        try:
            for key, page in rows:
                if len(key) != FIRST_KEY_BYTES or (bucket := number(key[1:], "big")) >= count:
                    continue
                size += len(page) + _FIRST_OVERHEAD_BYTES
                if size > limit:
                    size -= len(page) + _FIRST_OVERHEAD_BYTES
                    return False
                first[bucket] = page
            return True
        finally:
            self._first_bytes = size

    def trim(self) -> None:
        """Let pages go until the bound holds: of the lower ones the oldest, while they take more than half;
        first ones in the order of a hand that moves over the buckets."""
        excess = self.held_bytes - self.limit_bytes
        if excess <= 0:
            return
        self._trim_lower(min(excess, self._lower_bytes - self.limit_bytes // 2))
        first = self.first
        while self._first_bytes and self.held_bytes > self.limit_bytes:
            page = first[self._hand]
            if page is not None:
                first[self._hand] = None
                self._first_bytes -= len(page) + _FIRST_OVERHEAD_BYTES
            self._hand = (self._hand + 1) % len(first)
        self._trim_lower(self.held_bytes - self.limit_bytes)

    def _trim_lower(self, size: int) -> None:
        """Let the oldest lower pages go, at least so many bytes of them."""
        going: list[bytes] = []
        for key, page in self.lower.items():
            if size <= 0:
                break
            going.append(key)
            size -= lower_bytes(page)
        for key in going:
            self._lower_bytes -= lower_bytes(self.lower.pop(key))
