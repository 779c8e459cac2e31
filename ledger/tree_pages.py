"""The pages of the state tree's buckets: leaf pages, split pages, and editing them beside the store.

Promise: the pages of a bucket follow from the entries it holds alone: up to 64 in one leaf page, more in a
split page over 16 children, each of which is such a page again. Bytes: docs/encodings.md, "State tree".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from struct import Struct

import msgspec

from ledger.slices import Slices
from primitives.codec import encode
from primitives.errors import InvariantViolation
from primitives.hashing import HASH_BYTES, ZERO_HASH, tagged_hasher
from primitives.limits import BUCKET_ENTRIES, TREE_ARITY, TREE_SETTLED_PER_SLICE

Edit = tuple[bytes, bool, bytes | None]  # key, was it present, digest of its new value (None = gone)

_SPLIT_MARK = 0  # a split page starts with this byte; a leaf page starts with an array header (>= 0x90)
_SLOT_BYTES = 4 + HASH_BYTES
_SPLIT_BYTES = 1 + TREE_ARITY * _SLOT_BYTES
_read_counts = Struct(">x" + TREE_ARITY * f"I{HASH_BYTES}x").unpack
_CHILDREN = [(bytes((nibble,)), 1 + nibble * _SLOT_BYTES) for nibble in range(TREE_ARITY)]
"""Of each child of a split page: what its key ends with, and where its slot lies."""

_number = int.from_bytes
_hash_key = tagged_hasher("drex/key")
_hash_leaf = tagged_hasher("drex/bucket")
_hash_split = tagged_hasher("drex/split")
_read_leaf = msgspec.msgpack.Decoder(list[bytes]).decode


def bucket_page_key(bucket: int) -> bytes:
    """Key of a bucket's first page; a page below a split appends one byte per nibble of the path."""
    return b"p" + bucket.to_bytes(4, "big")


class PageEditor:
    """The pages one dry run has written so far, laid over the committed ones.

    `cached` holds some of the committed pages below splits, `load_committed` finds any."""

    def __init__(
        self, cached: Mapping[bytes, bytes], load_committed: Callable[[bytes], bytes | None]
    ) -> None:
        self._cached = cached
        self._load_committed = load_committed
        self.pages: dict[bytes, bytes | None] = {}
        self._key_hashes: dict[bytes, bytes] = {}  # of keys below a second split: needed again at each level

    def load(self, page_key: bytes) -> bytes | None:
        """The page as it is after the edits so far."""
        return self.pages[page_key] if page_key in self.pages else self._load_committed(page_key)

    def update(self, page_key: bytes, depth: int, page: bytes | None, edits: list[Edit]) -> tuple[int, bytes]:
        """Edit the subtree whose present `page` is at `page_key`; return by how much its number of entries
        changed, and its new digest."""
        if page is None:
            flat = []
        elif page[0] == _SPLIT_MARK:
            return self._update_split(page_key, depth, page, edits)
        else:
            flat = _read_leaf(page)
        change = _edit_leaf(flat, edits)
        if 0 < len(flat) <= 2 * BUCKET_ENTRIES:
            self.pages[page_key] = page = encode(flat)
            return change, _hash_leaf(page)
        return change, self._write(page_key, depth, _pairs(flat))

    def update_in_slices(
        self, page_key: bytes, depth: int, edits: list[Edit], updates_per_slice: int
    ) -> Slices[tuple[int, bytes]]:
        """`update` with many edits: piece by piece until the page is split, then child by child."""
        edits.sort()
        page, digest, change, done = self.load(page_key), ZERO_HASH, 0, 0
        while done < len(edits) and (page is None or page[0] != _SPLIT_MARK):
            grown, digest = self.update(page_key, depth, page, edits[done : done + updates_per_slice])
            page = self.load(page_key)
            change += grown
            done += updates_per_slice
            yield
        if page is None or done >= len(edits):
            return change, digest
        parts: dict[int, list[Edit]] = {}
        for start in range(done, len(edits), TREE_SETTLED_PER_SLICE):
            self._add_by_nibble(parts, edits[start : start + TREE_SETTLED_PER_SLICE], depth)
            yield
        new_page, grown = _editable(page), 0
        for nibble, part in parts.items():
            suffix, slot = _CHILDREN[nibble]
            child_key, count = page_key + suffix, _number(new_page[slot : slot + 4], "big")
            if len(part) > updates_per_slice:
                result = yield from self.update_in_slices(child_key, depth + 1, part, updates_per_slice)
            else:
                result = self.update(child_key, depth + 1, self.load(child_key) if count else None, part)
                yield
            grown += result[0]
            new_page[slot : slot + _SLOT_BYTES] = _slot(count + result[0], result[1])
        return change + grown, self._close_split(page_key, depth, new_page, grown)

    def _update_split(self, page_key: bytes, depth: int, page: bytes, edits: list[Edit]) -> tuple[int, bytes]:
        parts: dict[int, list[Edit]] = {}
        self._add_by_nibble(parts, edits, depth)
        pages, cached, depth_below = self.pages, self._cached, depth + 1
        new_page, change, child = _editable(page), 0, None
        for nibble, part in parts.items():
            suffix, slot = _CHILDREN[nibble]
            child_key, count, child = page_key + suffix, _number(new_page[slot : slot + 4], "big"), None
            if count:  # each look saves the next, slower one
                child = pages.get(child_key) or cached.get(child_key) or self.load(child_key)
            grown, digest = self.update(child_key, depth_below, child, part)
            change += grown
            new_page[slot : slot + _SLOT_BYTES] = _slot(count + grown, digest)
        return change, self._close_split(page_key, depth, new_page, change)

    def _close_split(self, page_key: bytes, depth: int, page: bytearray, change: int) -> bytes:
        """Write a page whose children are written, and return its digest: as a leaf if they have become
        few."""
        if change < 0 and sum(counts := _read_counts(page)) <= BUCKET_ENTRIES:
            entries: dict[bytes, bytes] = {}
            for count, (suffix, _) in zip(counts, _CHILDREN, strict=True):
                child_key = page_key + suffix
                if count and (child := self.load(child_key)) is not None:
                    entries.update(_pairs(_read_leaf(child)))
                    self.pages[child_key] = None
            return self._write(page_key, depth, entries)
        self.pages[page_key] = new_page = bytes(page)
        return _hash_split(new_page)

    def _write(self, page_key: bytes, depth: int, entries: dict[bytes, bytes]) -> bytes:
        """Write a subtree that holds exactly `entries` and had no split page; return its digest."""
        count = len(entries)
        if count == 0:
            self.pages[page_key] = None
            return ZERO_HASH
        if count <= BUCKET_ENTRIES:
            self.pages[page_key] = page = encode(_flat(entries))
            return _hash_leaf(page)
        parts: list[dict[bytes, bytes]] = [{} for _ in range(TREE_ARITY)]
        for key, digest in entries.items():
            parts[self._nibble(key, depth)][key] = digest
        slots = [bytes((_SPLIT_MARK,))]
        for part, (suffix, _) in zip(parts, _CHILDREN, strict=True):
            digest = self._write(page_key + suffix, depth + 1, part) if part else ZERO_HASH
            slots.append(_slot(len(part), digest))
        self.pages[page_key] = page = b"".join(slots)
        return _hash_split(page)

    def _add_by_nibble(self, parts: dict[int, list[Edit]], edits: list[Edit], depth: int) -> None:
        for edit in edits:
            nibble = self._nibble(edit[0], depth)
            if nibble in parts:
                parts[nibble].append(edit)
            else:
                parts[nibble] = [edit]

    def _nibble(self, key: bytes, depth: int) -> int:
        """Which child of a split page at `depth` holds `key`: nibble number `depth` of the key's hash."""
        if depth == 0:  # most splits are not split again
            return _hash_key(key)[0] >> 4
        digest = self._key_hashes.get(key)
        if digest is None:
            digest = self._key_hashes[key] = _hash_key(key)
        byte = digest[depth >> 1]
        return byte & 15 if depth & 1 else byte >> 4


def _edit_leaf(flat: list[bytes], edits: list[Edit]) -> int:
    """Edit the content `[key, value digest, key, value digest, …]`, keys ascending, of a leaf; return by how
    much its number of entries changed."""
    keys, change = flat[::2], 0
    for key, was_present, digest in edits:
        place = bisect_left(keys, key)
        is_present = place < len(keys) and keys[place] == key
        if is_present is not was_present:
            raise _misfit(key)
        if digest is None:
            del keys[place : place + 1], flat[2 * place : 2 * place + 2]
            change -= 1
        elif is_present:
            flat[2 * place + 1] = digest
        else:
            keys.insert(place, key)
            flat[2 * place : 2 * place] = (key, digest)
            change += 1
    return change


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    items = iter(flat)
    return dict(zip(items, items, strict=True))


def _flat(entries: dict[bytes, bytes]) -> list[bytes]:
    return [part for key in sorted(entries) for part in (key, entries[key])]


def _misfit(key: bytes) -> InvariantViolation:
    return InvariantViolation("TREE_MISFIT", f"the state tree and a change disagree on {key.hex()}")


def _editable(page: bytes) -> bytearray:
    if len(page) != _SPLIT_BYTES:
        raise InvariantViolation("TREE_PAGE", f"a split page has {len(page)} bytes, not {_SPLIT_BYTES}")
    return bytearray(page)


def _slot(count: int, digest: bytes) -> bytes:
    return count.to_bytes(4, "big") + digest
