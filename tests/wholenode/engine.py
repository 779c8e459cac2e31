"""LevelDB in memory: what `storage.leveldb.Database` asks of plyvel, over a machine's simulated disk.

A synced batch is on disk, whole, when its write returns; one that was not synced is lost with the power. A
write that fails may or may not be found after reopening. Snapshots see their moment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager

from tests.wholenode.files import FileSystem, PowerCut, SimPath

Rows = dict[bytes, bytes]


class StoredRows:
    """The database directory: `rows` as the process sees them, `durable` what a power cut leaves."""

    def __init__(self, rows: Rows | None = None) -> None:
        self.rows: Rows = dict(rows or {})
        self.durable = self.rows
        self.is_open = False

    def lose_power(self) -> None:
        """Back to what was synced."""
        self.rows, self.is_open = self.durable, False


STORED: dict[str, StoredRows] = {}
"""By the directory's path."""


class View:
    """Rows of one moment, in order. They are never changed: a write makes new ones."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._keys: list[bytes] | None = None

    def get(self, key: bytes, *, verify_checksums: bool = False) -> bytes | None:
        """A value."""
        return self._rows.get(key)

    @contextmanager
    def iterator(
        self, *, start: bytes, stop: bytes, reverse: bool = False, verify_checksums: bool = False
    ) -> Iterator[Iterator[tuple[bytes, bytes]]]:
        """Rows from start to before stop."""
        if self._keys is None:
            self._keys = sorted(self._rows)
        keys = self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, stop)]
        if reverse:
            keys.reverse()
        rows = self._rows
        yield ((key, rows[key]) for key in keys)

    def close(self) -> None:
        """Nothing is held."""


class MemoryBatch:
    """A write batch."""

    def __init__(self, engine: MemoryEngine, sync: bool) -> None:
        self._engine = engine
        self._sync = sync
        self._changes: dict[bytes, bytes | None] = {}
        self.put = self._changes.__setitem__

    def delete(self, key: bytes) -> None:
        """Remove a row."""
        self._changes[key] = None

    def write(self) -> None:
        """All of it, or nothing that can be relied on."""
        self._engine.write(self._changes, sync=self._sync)


class MemoryEngine:
    """`plyvel.DB` over a `StoredRows`."""

    def __init__(self, stored: StoredRows, files: FileSystem) -> None:
        if stored.is_open:
            raise OSError("IO error: lock LOCK: already held by process")
        stored.is_open = True
        self._stored = stored
        self._files = files
        self._view = View(stored.rows)

    def get(self, key: bytes, *, verify_checksums: bool = False) -> bytes | None:
        """A value."""
        return self._stored.rows.get(key)

    def iterator(self, **bounds: object) -> object:
        """See `View.iterator`."""
        return self.snapshot().iterator(**bounds)  # type: ignore[arg-type]

    def snapshot(self) -> View:
        """This moment."""
        return self._view

    def write_batch(self, *, sync: bool) -> MemoryBatch:
        """An empty batch."""
        return MemoryBatch(self, sync)

    def write(self, changes: dict[bytes, bytes | None], *, sync: bool) -> None:
        """Apply a batch. Raises `OSError` for a bad disk, `PowerCut`; then it may have reached the disk."""
        stored, files = self._stored, self._files
        rows = {**stored.rows}
        for key, value in changes.items():
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
        try:
            files.step()
        except (OSError, PowerCut):
            if files.calls % 2:
                stored.durable = rows
            raise
        stored.rows, self._view = rows, View(rows)
        if sync:
            stored.durable = rows
            files.step()

    def compact_range(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Give the directory back."""
        self._stored.is_open = False


def open_engine(path: SimPath, create: bool, cache_bytes: int) -> MemoryEngine:
    """Stands in for `storage.leveldb._open_engine`."""
    if create:
        path.mkdir()
    return MemoryEngine(STORED.setdefault(str(path), StoredRows()), path.files)
