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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ledger.page_cache import PageCache
from ledger.slices import Slices, finish
from ledger.state import Change, StateDelta
from ledger.tree_pages import Edit, PageEditor, bucket_page_key
from ledger.unsaved_pages import UnsavedPages
from primitives.errors import InvariantViolation
from primitives.hashing import HASH_BYTES, ZERO_HASH, tagged_hasher
from primitives.limits import (
    TREE_ARITY,
    TREE_CACHE_BYTES,
    TREE_CACHE_SLACK_BYTES,
    TREE_SETTLED_PER_SLICE,
    TREE_UPDATES_PER_SLICE,
)

BUCKET_COUNTS = tuple(TREE_ARITY**power for power in range(1, 6))

_GROUP_BYTES = TREE_ARITY * HASH_BYTES
_EMPTY_GROUP = bytes(_GROUP_BYTES)  # has no page

_hash_key = tagged_hasher("drex/key")
_hash_value = tagged_hasher("drex/value")
_hash_node = tagged_hasher("drex/tree")

Changes = Mapping[bytes, Change]


class PageStore(Protocol):
    """Where pages live between runs: b"g…" keys hold groups of bucket digests, b"p…" keys bucket pages."""

    def load(self, page_key: bytes) -> bytes | None:
        """Return the page as the last committed patch wrote it, or None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class TreePatch:
    """What changes do to the tree: the new root, and the pages that storage writes."""

    base_root: bytes
    root: bytes
    pages: Mapping[bytes, bytes | None]
    groups: Mapping[bytes, bytes | None]
    digests: tuple[Mapping[int, bytes], ...]
    edits: Mapping[int, list[Edit]]  # by bucket, ascending: what made the pages of the parent's these

    def page_writes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Every (page key, page) that storage writes with the block; None deletes."""
        return itertools.chain(self.pages.items(), self.groups.items())


def group_page_key(group: int) -> bytes:
    """Key of the page that holds the digests of buckets 16·group … 16·group + 15."""
    return b"g" + group.to_bytes(4, "big")


class StateTree:
    """The committed tree: all node digests in RAM (34 MB for 2^20 buckets), bucket pages behind a cache."""

    def __init__(
        self,
        bucket_count: int,
        pages: PageStore,
        *,
        cache_bytes: int = TREE_CACHE_BYTES,
        keeps_unsaved: bool = False,
    ) -> None:
        """Open the tree as `pages` hold it (an empty store gives the empty tree). Reads one page per 16
        buckets; raises `InvariantViolation` for a malformed page or an unknown bucket count.

        With `keeps_unsaved` the store may lag behind: pages of committed patches stay in `unsaved`, in RAM,
        until it lets them go."""
        if bucket_count not in BUCKET_COUNTS:
            raise InvariantViolation("TREE_BUCKETS", f"{bucket_count} is not one of {BUCKET_COUNTS}")
        self.bucket_count = bucket_count
        self._shift = 32 - (bucket_count.bit_length() - 1)
        self._store = pages
        self._cache = PageCache(bucket_count, cache_bytes)
        self._levels = _open_levels(bucket_count, pages)
        self._root = bytes(self._levels[-1])
        self._keeps_unsaved = keeps_unsaved
        self.unsaved = UnsavedPages(bucket_count)
        """Bucket pages of settled patches that the store need not have yet (`keeps_unsaved`)."""
        self._unsettled: TreePatch | None = None  # committed, and not yet in the levels and the cache

    @property
    def root(self) -> bytes:
        """The 32-byte root of the committed state."""
        return self._root

    def bucket_of(self, place: bytes) -> int:
        """The bucket of an entry whose place (its lock, or its key's hash) is `place`."""
        return int.from_bytes(place[:4], "big") >> self._shift

    def node(self, level: int, index: int) -> bytes:
        """The 16 child digests (512 bytes) of a node; level 0 holds the digests of the buckets."""
        finish(self.settle())
        start = index * _GROUP_BYTES
        return bytes(self._levels[level][start : start + _GROUP_BYTES])

    @property
    def depth(self) -> int:
        """How many nodes lie between a bucket and the root."""
        return len(self._levels) - 1

    def preload(self, rows: Iterable[tuple[bytes, bytes]]) -> bool:
        """Take pages of the store, (page key, page), into an empty cache until it is full; whether all fit.
        For a start: a page that is read for the first time in a block costs five times its look in RAM."""
        return self._cache.load(rows)

    @property
    def cached_bytes(self) -> int:
        """RAM of the pages held, counted; digests and `unsaved` pages that the cache let go come on top."""
        return self._cache.held_bytes

    def page(self, page_key: bytes) -> bytes | None:
        """A bucket page of the committed tree, or None when it has none."""
        finish(self.settle())
        return self._load(page_key)

    def apply(self, changes: Changes) -> TreePatch:
        """The patch that `changes` (key → (old value, new value), None = absent) make. Changes nothing.

        Raises `InvariantViolation` when the changes do not fit the committed state."""
        return finish(self.apply_in_slices(StateDelta.of(changes)))

    def apply_in_slices(
        self, delta: StateDelta, updates_per_slice: int = TREE_UPDATES_PER_SLICE
    ) -> Slices[TreePatch]:
        """`apply` that yields after every `updates_per_slice` updates, so that an event loop can breathe.

        A commit meanwhile makes it worthless: then leave it, its patch would be refused."""
        edits = yield from self._edits_by_bucket(delta, 4 * updates_per_slice)
        in_order = {bucket: edits[bucket] for bucket in sorted(edits)}
        return (yield from self.apply_edits(in_order, updates_per_slice))

    def apply_edits(
        self, edits: Mapping[int, list[Edit]], updates_per_slice: int = TREE_UPDATES_PER_SLICE
    ) -> Slices[TreePatch]:
        """`apply_in_slices` for edits that are sorted by bucket, buckets ascending: those of a patch."""
        yield from self.settle()
        work = PageEditor(self._cache.lower, self._load)
        base_root = self._root
        buckets, digests, done = self._levels[0], dict[int, bytes](), 0
        first_pages = self._cache.first
        for bucket, part in edits.items():
            page_key = bucket_page_key(bucket)
            slot = bucket * HASH_BYTES
            page = first_pages[bucket]
            if page is None and buckets[slot : slot + HASH_BYTES] != ZERO_HASH:
                page = self._load(page_key)
            if len(part) > updates_per_slice:  # one owner, many outputs
                result = yield from work.update_in_slices(page_key, 0, part, updates_per_slice)
                digests[bucket] = result[1]
                continue
            digests[bucket] = work.update(page_key, 0, page, part)[1]
            done += len(part)
            if done >= updates_per_slice:
                done = 0
                yield
        groups: dict[bytes, bytes | None] = {}
        levels = yield from self._regroup(digests, groups, updates_per_slice)
        return TreePatch(base_root, levels[-1].get(0, base_root), work.pages, groups, levels, edits)

    def commit(self, patch: TreePatch) -> None:
        """Make `patch` the committed tree, at once; `settle` does the work afterwards. Raises
        `InvariantViolation` when it was made on another root."""
        if patch.base_root != self._root:
            raise InvariantViolation("TREE_STALE_PATCH", "the patch was made on another state")
        finish(self.settle())
        self._root, self._unsettled = patch.root, patch

    def settle(self) -> Slices[None]:
        """Carry the last committed patch into the levels and the cache. Whoever reads first does it if
        nobody did; repeated or left half way it does no harm."""
        patch = self._unsettled
        if patch is None:
            return
        for committed, digests in zip(self._levels, patch.digests, strict=True):
            for count, (index, digest) in enumerate(digests.items(), 1):
                slot = index * HASH_BYTES
                committed[slot : slot + HASH_BYTES] = digest
                if count % TREE_SETTLED_PER_SLICE == 0:
                    yield
                    if self._unsettled is not patch:
                        return
        pages = iter(patch.pages.items())
        while part := list(itertools.islice(pages, TREE_SETTLED_PER_SLICE)):
            self._cache.put(part)
            if self._keeps_unsaved:
                self.unsaved.take(part)
            yield
            if self._unsettled is not patch:
                return
        self._cache.trim()
        self._unsettled = None

    @property
    def unsaved_limit_bytes(self) -> int:
        """More should not stay unsaved: half of what the cache, which has the same pages, may hold."""
        return self._cache.limit_bytes // 2

    def unsaved_part(self, number: int) -> Iterator[tuple[bytes, bytes | None]]:
        """What a store lacks of a part of `unsaved`, as of the settled tree: the bucket pages, then the
        group pages of their buckets; None deletes."""
        groups: dict[int, None] = {}
        for key, page in self.unsaved.part(number).items():
            groups[int.from_bytes(key[1:5], "big") // TREE_ARITY] = None
            yield key, page
        for group in groups:
            content = bytes(self._levels[0][group * _GROUP_BYTES : (group + 1) * _GROUP_BYTES])
            yield group_page_key(group), None if content == _EMPTY_GROUP else content

    def _edits_by_bucket(self, delta: StateDelta, keys_per_slice: int) -> Slices[Mapping[int, list[Edit]]]:
        edits: defaultdict[int, list[Edit]] = defaultdict(list)
        shift, number, changes = self._shift, int.from_bytes, delta.changes
        for start in range(0, len(delta.gone), keys_per_slice):
            for key, value in delta.gone[start : start + keys_per_slice]:
                edits[number(value[:4], "big") >> shift].append((key, True, None))
            yield
        for start in range(0, len(delta.made), keys_per_slice):
            for key, value in delta.made[start : start + keys_per_slice]:
                edits[number(value[:4], "big") >> shift].append((key, False, _hash_value(value)))
            yield
        for keys, place_of in ((delta.balances, _lock_of_balance), (delta.others, _hash_key)):
            for start in range(0, len(keys), keys_per_slice):
                for key in keys[start : start + keys_per_slice]:
                    old, new = changes[key]
                    edit = (key, old is not None, None if new is None else _hash_value(new))
                    edits[self.bucket_of(place_of(key))].append(edit)
                yield
        return edits

    def _regroup(
        self, digests: dict[int, bytes], groups: dict[bytes, bytes | None], updates_per_slice: int
    ) -> Slices[tuple[dict[int, bytes], ...]]:
        """Carry changed bucket digests (ascending by index) up to the root; returns those of every level
        and fills `groups` with the pages of the lowest."""
        levels = [digests]
        for level in range(self.depth):
            parents: dict[int, bytes] = {}
            for done, (group, content) in enumerate(_changed_nodes(self._levels[level], digests), 1):
                parents[group] = _hash_node(content)
                if level == 0:
                    groups[group_page_key(group)] = None if content == _EMPTY_GROUP else content
                if done % (4 * updates_per_slice) == 0:
                    yield
            levels.append(digests := parents)
        return tuple(levels)

    def _load(self, page_key: bytes) -> bytes | None:
        page = self._cache.get(page_key)
        if page is None:
            held = self.unsaved.find(page_key)
            if held is not None:
                return held[1]
            page = self._store.load(page_key)
            if page is not None:
                self._cache.put(((page_key, page),))
                if self._cache.held_bytes > self._cache.limit_bytes + TREE_CACHE_SLACK_BYTES:
                    self._cache.trim()
        return page


def _lock_of_balance(key: bytes) -> bytes:
    return key[1:33]


def _open_levels(bucket_count: int, pages: PageStore) -> list[bytearray]:
    """The digests of every level from the buckets up; the last level is the root alone."""
    contents: list[bytes] = []
    for group in range(bucket_count // TREE_ARITY):
        page = pages.load(group_page_key(group))
        if page is not None and len(page) != _GROUP_BYTES:
            raise InvariantViolation("TREE_PAGE", f"group page {group} has {len(page)} bytes")
        contents.append(_EMPTY_GROUP if page is None else page)
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


def _changed_nodes(committed: bytearray, digests: dict[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """Each node (index, its 16 child digests) that has a changed child; `digests` ascend by index."""
    current, content = -1, bytearray()
    for index, digest in digests.items():
        if (group := index >> 4) != current:
            if content:
                yield current, bytes(content)
            current, start = group, group * _GROUP_BYTES
            content = committed[start : start + _GROUP_BYTES]
        slot = (index & 15) * HASH_BYTES
        content[slot : slot + HASH_BYTES] = digest
    if content:
        yield current, bytes(content)
