"""The pages of the state tree's buckets: leaf pages, split pages, and editing them beside the store.

Promise: the pages of a bucket follow from the entries it holds alone: up to 64 in one leaf page, more in a
split page over 16 children, each of which is such a page again. Bytes: docs/encodings.md, "State tree".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import msgspec

from ledger.slices import Slices
from primitives.codec import encode
from primitives.errors import InvariantViolation
from primitives.hashing import HASH_BYTES, ZERO_HASH, tagged_hasher
from primitives.limits import BUCKET_ENTRIES, TREE_ARITY, TREE_SETTLED_PER_SLICE

Edit = tuple[bytes, bool, bytes | None]  # key, was it present, digest of its new value (None = gone)

_SLOT_BYTES = 4 + HASH_BYTES
_SPLIT_MARK = 0  # a split page starts with this byte; a leaf page starts with an array header (>= 0x90)

_hash_key = tagged_hasher("drex/key")
_hash_leaf = tagged_hasher("drex/bucket")
_hash_split = tagged_hasher("drex/split")
_read_leaf = msgspec.msgpack.Decoder(list[bytes]).decode


def bucket_page_key(bucket: int) -> bytes:
    """Key of a bucket's first page; a page below a split appends one byte per nibble of the path."""
    return b"p" + bucket.to_bytes(4, "big")


class PageEditor:
    """The pages one dry run has written so far, laid over the committed ones."""

    def __init__(self, load_committed: Callable[[bytes], bytes | None]) -> None:
        self._load_committed = load_committed
        self.pages: dict[bytes, bytes | None] = {}
        self._key_hashes: dict[bytes, bytes] = {}  # of keys below a split: needed again at each level

    def load(self, page_key: bytes) -> bytes | None:
        """The page as it is after the edits so far."""
        return self.pages[page_key] if page_key in self.pages else self._load_committed(page_key)

    def update(self, page_key: bytes, depth: int, page: bytes | None, edits: list[Edit]) -> tuple[int, bytes]:
        """Edit the subtree whose present `page` is at `page_key`; return its new number of entries and its
        new digest."""
        if page is not None and page[0] == _SPLIT_MARK:
            return self._update_split(page_key, depth, page, edits)
        flat = _edited_leaf(page, edits)
        if 0 < len(flat) <= 2 * BUCKET_ENTRIES:
            self.pages[page_key] = new_page = encode(flat)
            return len(flat) >> 1, _hash_leaf(new_page)
        return self._write(page_key, depth, _pairs(flat))

    def update_in_slices(
        self, page_key: bytes, depth: int, edits: list[Edit], updates_per_slice: int
    ) -> Slices[tuple[int, bytes]]:
        """`update` with many edits: piece by piece until the page is split, then child by child."""
        edits.sort()
        page, result, done = self.load(page_key), (0, ZERO_HASH), 0
        while done < len(edits) and (page is None or page[0] != _SPLIT_MARK):
            result = self.update(page_key, depth, page, edits[done : done + updates_per_slice])
            page = self.load(page_key)
            done += updates_per_slice
            yield
        if page is None or done >= len(edits):
            return result
        counts, slots = _split_slots(page)
        parts: dict[int, list[Edit]] = {}
        for start in range(done, len(edits), TREE_SETTLED_PER_SLICE):
            self._add_by_nibble(parts, edits[start : start + TREE_SETTLED_PER_SLICE], depth)
            yield
        for nibble, part in parts.items():
            child_key = page_key + bytes((nibble,))
            if len(part) > updates_per_slice:
                result = yield from self.update_in_slices(child_key, depth + 1, part, updates_per_slice)
            else:
                child = self.load(child_key) if counts[nibble] else None
                result = self.update(child_key, depth + 1, child, part)
                yield
            counts[nibble], slots[nibble] = result
        return self._close_split(page_key, depth, counts, slots)

    def _update_split(self, page_key: bytes, depth: int, page: bytes, edits: list[Edit]) -> tuple[int, bytes]:
        counts, slots = _split_slots(page)
        parts: dict[int, list[Edit]] = {}
        self._add_by_nibble(parts, edits, depth)
        for nibble, part in parts.items():
            child_key = page_key + bytes((nibble,))
            child = self.load(child_key) if counts[nibble] else None
            counts[nibble], slots[nibble] = self.update(child_key, depth + 1, child, part)
        return self._close_split(page_key, depth, counts, slots)

    def _close_split(
        self, page_key: bytes, depth: int, counts: list[int], slots: list[bytes]
    ) -> tuple[int, bytes]:
        """Write a page whose children are written: as a leaf if they have become few."""
        if sum(counts) > BUCKET_ENTRIES:
            return self._write_split(page_key, counts, slots)
        entries: dict[bytes, bytes] = {}
        for nibble, count in enumerate(counts):
            child_key = page_key + bytes((nibble,))
            if count and (child := self.load(child_key)) is not None:
                entries.update(_pairs(_read_leaf(child)))
                self.pages[child_key] = None
        return self._write(page_key, depth, entries)

    def _write(self, page_key: bytes, depth: int, entries: dict[bytes, bytes]) -> tuple[int, bytes]:
        """Write a subtree that holds exactly `entries` and had no split page."""
        count = len(entries)
        if count == 0:
            self.pages[page_key] = None
            return 0, ZERO_HASH
        if count <= BUCKET_ENTRIES:
            page = encode(_flat(entries))
            self.pages[page_key] = page
            return count, _hash_leaf(page)
        parts: list[dict[bytes, bytes]] = [{} for _ in range(TREE_ARITY)]
        for key, digest in entries.items():
            parts[self._nibble(key, depth)][key] = digest
        counts, slots = [0] * TREE_ARITY, [ZERO_HASH] * TREE_ARITY
        for nibble, part in enumerate(parts):
            if part:
                counts[nibble], slots[nibble] = self._write(page_key + bytes((nibble,)), depth + 1, part)
        return self._write_split(page_key, counts, slots)

    def _write_split(self, page_key: bytes, counts: list[int], slots: list[bytes]) -> tuple[int, bytes]:
        parts = (count.to_bytes(4, "big") + slot for count, slot in zip(counts, slots, strict=True))
        page = bytes((_SPLIT_MARK,)) + b"".join(parts)
        self.pages[page_key] = page
        return sum(counts), _hash_split(page)

    def _add_by_nibble(self, parts: dict[int, list[Edit]], edits: list[Edit], depth: int) -> None:
        for edit in edits:
            parts.setdefault(self._nibble(edit[0], depth), []).append(edit)

    def _nibble(self, key: bytes, depth: int) -> int:
        """Which child of a split page at `depth` holds `key`: nibble number `depth` of the key's hash."""
        digest = self._key_hashes.get(key)
        if digest is None:
            digest = self._key_hashes[key] = _hash_key(key)
        byte = digest[depth >> 1]
        return byte & 15 if depth & 1 else byte >> 4


def _edited_leaf(page: bytes | None, edits: list[Edit]) -> list[bytes]:
    """The content `[key, value digest, key, value digest, …]`, keys ascending, of a leaf after `edits`."""
    flat = [] if page is None else _read_leaf(page)
    keys = flat[::2]
    for key, was_present, digest in edits:
        place = bisect_left(keys, key)
        is_present = place < len(keys) and keys[place] == key
        if is_present is not was_present:
            raise _misfit(key)
        if digest is None:
            del keys[place : place + 1], flat[2 * place : 2 * place + 2]
        elif is_present:
            flat[2 * place + 1] = digest
        else:
            keys.insert(place, key)
            flat[2 * place : 2 * place] = (key, digest)
    return flat


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    items = iter(flat)
    return dict(zip(items, items, strict=True))


def _flat(entries: dict[bytes, bytes]) -> list[bytes]:
    return [part for key in sorted(entries) for part in (key, entries[key])]


def _misfit(key: bytes) -> InvariantViolation:
    return InvariantViolation("TREE_MISFIT", f"the state tree and a change disagree on {key.hex()}")


def _split_slots(page: bytes) -> tuple[list[int], list[bytes]]:
    counts, slots = [], []
    for start in range(1, len(page), _SLOT_BYTES):
        counts.append(int.from_bytes(page[start : start + 4], "big"))
        slots.append(page[start + 4 : start + _SLOT_BYTES])
    return counts, slots
