"""The hot set: state entries in RAM, up to a bound, as plain bytes.

Promises: never more than `limit_bytes` (as counted by `entry_bytes`, calibrated against the process's size in
scripts/bench/storage.py); no operation takes longer than one shard, about a thousandth part of the set; when
the whole state fits, `is_complete` holds and a miss is an answer. Never the truth: LevelDB is.

Shape: 1024 shards of two small dictionaries. New and newly read entries go to the young one. When the set
is full a hand moves over the shards, drops a shard's old dictionary and makes its young one old, so an entry
touched since the hand's last visit stays. Shards keep every resize and every drop short.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from primitives.limits import HOT_SET_SHARDS

_MASK = HOT_SET_SHARDS - 1
_OVERHEAD_BYTES = 170  # two bytes headers, two roundings to 16, a dictionary slot at 1/2 load


@dataclass(frozen=True, slots=True)
class HotSetFigures:
    """What the metrics show. `bytes` is counted, not measured; hits and misses since the start."""

    entries: int
    bytes: int
    limit_bytes: int
    hits: int
    misses: int
    is_complete: bool


def entry_bytes(key: bytes, value: bytes) -> int:
    """What an entry costs in RAM, headers and table included."""
    return len(key) + len(value) + _OVERHEAD_BYTES


class HotSet:
    """A bounded map from key to value. One thread at a time."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.is_complete = False  # set by whoever has loaded every entry there is; eviction unsets it
        self.misses = 0
        self.hits = 0
        self.bytes = 0
        self.entries = 0
        self._young = _shards()
        self._old = _shards()
        self._hand = 0

    def get(self, key: bytes) -> bytes | None:
        """The value, or None when it is not in RAM (`is_complete` tells whether it exists nowhere)."""
        shard = hash(key) & _MASK
        value = self._young[shard].get(key)
        if value is None:
            value = self._old[shard].pop(key, None)
            if value is None:
                self.misses += 1
                return None
            self._young[shard][key] = value
        self.hits += 1
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Keep an entry, evicting others when the set is full."""
        shard = hash(key) & _MASK
        young = self._young[shard]
        before = young.get(key)
        if before is None:
            before = self._old[shard].pop(key, None)
        young[key] = value
        if before is None:
            self.entries += 1
            self.bytes += len(key) + len(value) + _OVERHEAD_BYTES
        else:
            self.bytes += len(value) - len(before)
        if self.bytes > self.limit_bytes:
            self._evict()

    def remove(self, key: bytes) -> None:
        """Forget an entry that no longer exists."""
        shard = hash(key) & _MASK
        before = self._young[shard].pop(key, None)
        if before is None:
            before = self._old[shard].pop(key, None)
        if before is not None:
            self.entries -= 1
            self.bytes -= len(key) + len(before) + _OVERHEAD_BYTES

    def apply(self, changes: Iterable[tuple[bytes, tuple[bytes | None, bytes | None]]]) -> None:
        """Take over the new values of changes (key, (old, new)); None removes. The same as `put` and
        `remove` one by one, at half the price: a block changes thousands of entries."""
        young, old_shards = self._young, self._old
        entries = size = 0
        for key, (_, new) in changes:
            shard = hash(key) & _MASK
            entries_of_shard = young[shard]
            before = entries_of_shard.pop(key, None)
            if before is None and old_shards[shard]:
                before = old_shards[shard].pop(key, None)
            if before is not None:
                entries -= 1
                size -= len(key) + len(before) + _OVERHEAD_BYTES
            if new is not None:
                entries_of_shard[key] = new
                entries += 1
                size += len(key) + len(new) + _OVERHEAD_BYTES
        self.entries += entries
        self.bytes += size
        if self.bytes > self.limit_bytes:
            self._evict()

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> bool:
        """Begin anew with (key, value) rows, each key once, until one does not fit; whether all did. Cheaper
        than `put` one by one: a start loads millions."""
        self._young = young = _shards()
        self._old, self.entries, self.bytes = _shards(), 0, 0
        limit, entries, size = self.limit_bytes, 0, 0
        try:
            for key, value in rows:
                cost = len(key) + len(value) + _OVERHEAD_BYTES
                if size + cost > limit:
                    return False
                size += cost
                entries += 1
                young[hash(key) & _MASK][key] = value
            return True
        finally:
            self.entries, self.bytes = entries, size

    def figures(self) -> HotSetFigures:
        """A moment's figures."""
        return HotSetFigures(
            self.entries, self.bytes, self.limit_bytes, self.hits, self.misses, self.is_complete
        )

    def _evict(self) -> None:
        """Move the hand until the set fits; at most twice around, which leaves nothing."""
        self.is_complete = False
        for _ in range(2 * HOT_SET_SHARDS):
            if self.bytes <= self.limit_bytes:
                return
            hand = self._hand
            dropped = self._old[hand]
            self.entries -= len(dropped)
            self.bytes -= sum(entry_bytes(key, value) for key, value in dropped.items())
            self._old[hand] = self._young[hand]
            self._young[hand] = {}
            self._hand = (hand + 1) & _MASK


def _shards() -> list[dict[bytes, bytes]]:
    return [{} for _ in range(HOT_SET_SHARDS)]
