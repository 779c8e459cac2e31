"""The state root: a bucketed Merkle tree over the flat state (docs/ledger.md, "State root").

Promises: the root depends only on the set of (key, value) pairs, never on the order or the batching of
changes; `apply` is dry (it returns a `TreePatch` and changes nothing); `commit` is all or nothing; a reopened
tree needs no look at the state. Pure: pages come through a `PageStore`, writes leave in the patch.

Shape: a fixed number of buckets (16^k, from the genesis) under levels of 16-ary nodes. An output or balance
lies in the bucket of its lock, so one bucket proves all that an address owns; anything else in the bucket of
its key's hash. A bucket of more than 64 entries is split by the nibbles of its keys' hashes, level by level,
so nobody can make one slow. The exact bytes are in docs/encodings.md, "State tree".
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from primitives.codec import encode
from primitives.errors import InvariantViolation
from primitives.hashing import HASH_BYTES, ZERO_HASH, tagged_hasher
from primitives.limits import (
    BUCKET_ENTRIES,
    TREE_ARITY,
    TREE_CACHE_PAGES,
    TREE_UPDATES_PER_SLICE,
)

KEY_OUTPUT = 0x6F  # b"o" + txid + index
KEY_BALANCE = 0x62  # b"b" + lock + asset
BUCKET_COUNTS = tuple(TREE_ARITY**power for power in range(1, 6))

_GROUP_BYTES = TREE_ARITY * HASH_BYTES
_SLOT_BYTES = 4 + HASH_BYTES
_SPLIT_MARK = 0  # a split page starts with this byte; a leaf page starts with an array header (>= 0x90)

_hash_key = tagged_hasher("drex/key")
_hash_value = tagged_hasher("drex/value")
_hash_leaf = tagged_hasher("drex/bucket")
_hash_split = tagged_hasher("drex/split")
_hash_node = tagged_hasher("drex/tree")
_read_leaf = msgspec.msgpack.Decoder(list[bytes]).decode
_read_output = msgspec.msgpack.Decoder(tuple[str, int, bytes, bytes]).decode

Changes = Mapping[bytes, tuple[bytes | None, bytes | None]]
_Edit = tuple[bytes, bool, bytes | None]  # key, was present, digest of the new value


class PageStore(Protocol):
    """Where pages live between runs: b"g…" keys hold groups of bucket digests, b"p…" keys bucket pages."""

    def load(self, page_key: bytes) -> bytes | None:
        """Return the page as the last committed patch wrote it, or None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class TreePatch:
    """What a delta does to the tree: the new root, and the pages that storage writes (None = delete)."""

    base_root: bytes
    root: bytes
    pages: Mapping[bytes, bytes | None]
    groups: tuple[Mapping[int, bytes], ...]


def place_of(key: bytes, value: bytes) -> bytes:
    """The 32 bytes that choose an entry's bucket: its lock, or its key's hash."""
    if key[0] == KEY_OUTPUT:
        return _read_output(value)[2]
    if key[0] == KEY_BALANCE:
        return key[1 : 1 + HASH_BYTES]
    return _hash_key(key)


def group_page_key(group: int) -> bytes:
    """Key of the page that holds the digests of buckets 16·group … 16·group + 15."""
    return b"g" + group.to_bytes(4, "big")


def bucket_page_key(bucket: int) -> bytes:
    """Key of a bucket's first page; a page below a split appends one byte per nibble of the path."""
    return b"p" + bucket.to_bytes(4, "big")


class StateTree:
    """The committed tree: all node digests in RAM (34 MB for 2^20 buckets), bucket pages behind a cache."""

    def __init__(self, bucket_count: int, pages: PageStore, *, cache_pages: int = TREE_CACHE_PAGES) -> None:
        """Open the tree as `pages` hold it (an empty store gives the empty tree). Reads one page per 16
        buckets; raises `InvariantViolation` for a malformed page or an unknown bucket count."""
        if bucket_count not in BUCKET_COUNTS:
            raise InvariantViolation("TREE_BUCKETS", f"{bucket_count} is not one of {BUCKET_COUNTS}")
        self.bucket_count = bucket_count
        self._shift = 32 - (bucket_count.bit_length() - 1)
        self._store = pages
        self._cache: dict[bytes, bytes] = {}
        self._cache_pages = cache_pages
        self._levels = _open_levels(bucket_count, pages)

    @property
    def root(self) -> bytes:
        """The 32-byte root of the committed state."""
        return bytes(self._levels[-1])

    def bucket_of(self, place: bytes) -> int:
        """The bucket of an entry whose place (`place_of`) is `place`."""
        return int.from_bytes(place[:4], "big") >> self._shift

    def node(self, level: int, index: int) -> bytes:
        """The 16 child digests (512 bytes) of a node; level 0 holds the digests of the buckets."""
        start = index * _GROUP_BYTES
        return bytes(self._levels[level][start : start + _GROUP_BYTES])

    @property
    def depth(self) -> int:
        """How many nodes lie between a bucket and the root."""
        return len(self._levels) - 1

    def page(self, page_key: bytes) -> bytes | None:
        """A bucket page of the committed tree, or None when it has none."""
        return self._load(page_key)

    def apply(self, changes: Changes) -> TreePatch:
        """The patch that `changes` (key → (old value, new value), None = absent) make. Changes nothing.

        Raises `InvariantViolation` when the changes do not fit the committed state."""
        steps = self.apply_in_slices(changes)
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            patch: TreePatch = stop.value
            return patch

    def apply_in_slices(
        self, changes: Changes, updates_per_slice: int = TREE_UPDATES_PER_SLICE
    ) -> Generator[None, None, TreePatch]:
        """`apply` that yields after every `updates_per_slice` updates, so that an event loop can breathe."""
        work = _Work(self)
        base_root = self.root
        edits = yield from self._edits_by_bucket(changes, updates_per_slice)
        digests: dict[int, bytes] = {}
        buckets = self._levels[0]
        done = 0
        for bucket in sorted(edits):
            page_key = bucket_page_key(bucket)
            slot = bucket * HASH_BYTES
            page = None if buckets[slot : slot + HASH_BYTES] == ZERO_HASH else self._load(page_key)
            digests[bucket] = work.update(page_key, 0, page, edits[bucket])[1]
            done += len(edits[bucket])
            if done >= updates_per_slice:
                done = 0
                yield
        groups = yield from self._regroup(digests, updates_per_slice)
        for group, content in groups[0].items():
            work.pages[group_page_key(group)] = content
        root = _hash_node(groups[-1][0]) if groups[-1] else base_root
        return TreePatch(base_root, root, work.pages, groups)

    def commit(self, patch: TreePatch) -> None:
        """Make `patch` the committed tree. Raises `InvariantViolation` when it was made on another root."""
        if patch.base_root != self.root:
            raise InvariantViolation("TREE_STALE_PATCH", "the patch was made on another state")
        for level, groups in enumerate(patch.groups):
            digests = self._levels[level]
            for index, content in groups.items():
                digests[index * _GROUP_BYTES : (index + 1) * _GROUP_BYTES] = content
        self._levels[-1][:] = patch.root
        for key, page in patch.pages.items():
            if page is None:
                self._cache.pop(key, None)
            elif key[0] == 0x70:
                self._cache[key] = page
        self._trim_cache()

    def _edits_by_bucket(
        self, changes: Changes, updates_per_slice: int
    ) -> Generator[None, None, dict[int, list[_Edit]]]:
        edits: dict[int, list[_Edit]] = {}
        shift = self._shift
        for count, (key, (old, new)) in enumerate(changes.items(), 1):
            if old == new:
                continue
            category = key[0]
            if category == KEY_BALANCE:
                place = key[1:5]
            elif category == KEY_OUTPUT:
                place = _read_output(old if new is None else new)[2][:4]  # type: ignore[arg-type]
            else:
                place = _hash_key(key)[:4]
            bucket = int.from_bytes(place, "big") >> shift
            edit = (key, old is not None, None if new is None else _hash_value(new))
            if bucket in edits:
                edits[bucket].append(edit)
            else:
                edits[bucket] = [edit]
            if count % (4 * updates_per_slice) == 0:
                yield
        return edits

    def _regroup(
        self, digests: dict[int, bytes], updates_per_slice: int
    ) -> Generator[None, None, tuple[dict[int, bytes], ...]]:
        """Carry changed digests (in ascending order of index) up to the root, level by level."""
        levels: list[dict[int, bytes]] = []
        for committed in self._levels[:-1]:
            groups: dict[int, bytes] = {}
            parents: dict[int, bytes] = {}
            members = itertools.groupby(digests.items(), lambda item: item[0] >> 4)
            for done, (group, children) in enumerate(members, 1):
                content = committed[group * _GROUP_BYTES : (group + 1) * _GROUP_BYTES]
                for index, digest in children:
                    slot = (index & 15) * HASH_BYTES
                    content[slot : slot + HASH_BYTES] = digest
                groups[group] = frozen = bytes(content)
                parents[group] = _hash_node(frozen)
                if done % (4 * updates_per_slice) == 0:
                    yield
            levels.append(groups)
            digests = parents
        return tuple(levels)

    def _load(self, page_key: bytes) -> bytes | None:
        page = self._cache.get(page_key)
        if page is None and (page := self._store.load(page_key)) is not None:
            self._cache[page_key] = page
        return page

    def _trim_cache(self) -> None:
        excess = len(self._cache) - self._cache_pages
        if excess > 0:
            for key in list(itertools.islice(self._cache, excess)):
                del self._cache[key]


class _Work:
    """The pages one dry run has written so far, laid over the committed ones."""

    def __init__(self, tree: StateTree) -> None:
        self._tree = tree
        self.pages: dict[bytes, bytes | None] = {}

    def load(self, page_key: bytes) -> bytes | None:
        return self.pages[page_key] if page_key in self.pages else self._tree._load(page_key)

    def update(
        self, page_key: bytes, depth: int, page: bytes | None, edits: list[_Edit]
    ) -> tuple[int, bytes]:
        """Edit the subtree whose committed `page` is at `page_key`; return its new number of entries and
        its new digest."""
        if page is not None and page[0] == _SPLIT_MARK:
            return self._update_split(page_key, depth, page, edits)
        entries = {} if page is None else _leaf_entries(page)
        for key, was_present, digest in edits:
            if (key in entries) is not was_present:
                raise InvariantViolation(
                    "TREE_MISFIT", f"the state tree and a change disagree on {key.hex()}"
                )
            if digest is None:
                del entries[key]
            else:
                entries[key] = digest
        return self._write(page_key, depth, entries)

    def _update_split(
        self, page_key: bytes, depth: int, page: bytes, edits: list[_Edit]
    ) -> tuple[int, bytes]:
        counts, slots = _split_slots(page)
        parts: dict[int, list[_Edit]] = {}
        for edit in edits:
            parts.setdefault(_nibble(edit[0], depth), []).append(edit)
        for nibble, part in parts.items():
            child_key = page_key + bytes((nibble,))
            child = self._tree._load(child_key) if counts[nibble] else None
            counts[nibble], slots[nibble] = self.update(child_key, depth + 1, child, part)
        if sum(counts) > BUCKET_ENTRIES:
            return self._write_split(page_key, counts, slots)
        entries: dict[bytes, bytes] = {}
        for nibble, count in enumerate(counts):
            child_key = page_key + bytes((nibble,))
            if count and (child := self.load(child_key)) is not None:
                entries.update(_leaf_entries(child))
                self.pages[child_key] = None
        return self._write(page_key, depth, entries)

    def _write(self, page_key: bytes, depth: int, entries: dict[bytes, bytes]) -> tuple[int, bytes]:
        """Write a subtree that holds exactly `entries` and had no split page."""
        count = len(entries)
        if count == 0:
            self.pages[page_key] = None
            return 0, ZERO_HASH
        if count <= BUCKET_ENTRIES:
            page = encode([part for key in sorted(entries) for part in (key, entries[key])])
            self.pages[page_key] = page
            return count, _hash_leaf(page)
        parts: list[dict[bytes, bytes]] = [{} for _ in range(TREE_ARITY)]
        for key, digest in entries.items():
            parts[_nibble(key, depth)][key] = digest
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


def _open_levels(bucket_count: int, pages: PageStore) -> list[bytearray]:
    """The digests of every level from the buckets up; the last level is the root alone."""
    empty_group = bytes(_GROUP_BYTES)
    contents: list[bytes] = []
    for group in range(bucket_count // TREE_ARITY):
        page = pages.load(group_page_key(group))
        if page is not None and len(page) != _GROUP_BYTES:
            raise InvariantViolation("TREE_PAGE", f"group page {group} has {len(page)} bytes")
        contents.append(empty_group if page is None else page)
    levels = [bytearray(b"".join(contents))]
    while len(levels[-1]) > HASH_BYTES:
        levels.append(_parents(levels[-1]))
    return levels


def _parents(level: bytearray) -> bytearray:
    known: dict[bytes, bytes] = {}  # most groups of a young network are alike
    parents = bytearray()
    for start in range(0, len(level), _GROUP_BYTES):
        content = bytes(level[start : start + _GROUP_BYTES])
        digest = known.get(content)
        if digest is None:
            digest = _hash_node(content)
            if len(known) < TREE_ARITY:
                known[content] = digest
        parents += digest
    return parents


def _leaf_entries(page: bytes) -> dict[bytes, bytes]:
    """The entries of a leaf page `[key, value digest, key, value digest, …]`."""
    flat = iter(_read_leaf(page))
    return dict(zip(flat, flat, strict=True))


def _split_slots(page: bytes) -> tuple[list[int], list[bytes]]:
    counts, slots = [], []
    for start in range(1, len(page), _SLOT_BYTES):
        counts.append(int.from_bytes(page[start : start + 4], "big"))
        slots.append(page[start + 4 : start + _SLOT_BYTES])
    return counts, slots


def _nibble(key: bytes, depth: int) -> int:
    """Which child of a split page at `depth` holds `key`: nibble number `depth` of the key's hash."""
    byte = _hash_key(key)[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4
