"""LevelDB behind one narrow door: the only importer of plyvel (or plyvel-next, its twin for newer Pythons).

Promises
* A `write` that returns is on disk (synced). A `write` that raised is *indeterminate*: it may reappear after
  reopening, so the handle refuses everything afterwards and the node must restart and recover.
* Nothing is read unchecked: the database opens with `paranoid_checks` and every read verifies checksums, so a
  flipped bit is an error that names the file, never a wrong value.
* Every failure is a `StorageFailure` with a stable code: STORAGE_CORRUPT, STORAGE_WRITE_FAILED,
  STORAGE_READ_FAILED, STORAGE_LOCKED, STORAGE_CLOSED, STORAGE_POISONED.

`write` and reads release the interpreter's lock while LevelDB works: call `write` from a thread.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

try:
    import plyvel
except ImportError:
    import plyvel_next as plyvel

from primitives.errors import StorageFailure
from primitives.limits import (
    DB_BLOOM_BITS,
    DB_CACHE_BYTES,
    DB_MAX_OPEN_FILES,
    DB_TABLE_BYTES,
    DB_WRITE_BUFFER_BYTES,
)
from storage.torn_tail import cut_torn_tails

_DAMAGED_FILE = re.compile(r"(/\S+?\.(?:ldb|sst|log)|MANIFEST-\d+|CURRENT)")


class Reader(Protocol):
    """Reads at one moment: the live database or a snapshot of it."""

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None. Raises `StorageFailure`."""

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Rows with `start <= key < stop` in key order. Raises `StorageFailure`."""


class Batch:
    """Changes that become durable together. `put(key, value)` and `delete(key)` are the engine's own bound
    methods, because a block makes ten thousand calls."""

    __slots__ = ("_engine_batch", "delete", "put")

    def __init__(self, engine_batch: Any) -> None:
        self._engine_batch = engine_batch
        self.put: Callable[[bytes, bytes], None] = engine_batch.put
        self.delete: Callable[[bytes], None] = engine_batch.delete


class Database:
    """One LevelDB directory, owned by this process alone."""

    def __init__(self, path: Path, engine: Any, cache_bytes: int = DB_CACHE_BYTES) -> None:
        self.path = path
        self._engine = engine
        self._cache_bytes = cache_bytes
        self._get = engine.get
        self._refusal: StorageFailure | None = None
        self.recovered: tuple[str, ...] = ()  # what was repaired when it was opened, for the log

    def get(self, key: bytes) -> bytes | None:
        if self._refusal is not None:
            raise self._refusal
        try:
            value: bytes | None = self._get(key, verify_checksums=True)
        except Exception as error:
            raise _translate(error, self.path, "read") from error
        return value

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        self._check_usable()
        return _checked_rows(self._engine, self.path, start, stop, reverse)

    def snapshot(self) -> Snapshot:
        """A view of this moment that later writes do not change. Close it."""
        self._check_usable()
        return Snapshot(self.path, self._engine.snapshot())

    def batch(self) -> Batch:
        """An empty batch; fill it on any one thread, then `write` it once."""
        self._check_usable()
        return Batch(self._engine.write_batch(sync=True))

    def write(self, batch: Batch) -> None:
        """Make `batch` durable: when this returns it survives a power cut. Blocking; one writer at a time.

        Raises `StorageFailure` (STORAGE_WRITE_FAILED); the outcome is then unknown and the handle dead.
        """
        self._check_usable()
        try:
            batch._engine_batch.write()
        except Exception as error:
            failure = _translate(error, self.path, "write")
            self._refusal = StorageFailure(
                "STORAGE_POISONED",
                "an earlier write failed and its outcome is unknown: restart the node, it recovers at start",
                path=str(self.path),
                cause=failure.code,
            )
            raise failure from error

    def size_bytes(self) -> int:
        """Bytes of the directory's files, as the file system reports them."""
        total = 0
        for entry in os.scandir(self.path):
            try:
                total += entry.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def compact(self) -> None:
        """Rewrite the whole database without dead rows. Slow; for offline use."""
        self._check_usable()
        try:
            self._engine.compact_range(start=b"", stop=b"\xff")  # without bounds it would compact nothing
        except Exception as error:
            raise _translate(error, self.path, "write") from error

    def reopen(self) -> None:
        """Close and open again, which lets go of the files that earlier reads have mapped into memory: a
        start reads nearly all of them, a node at work few. No snapshot, batch or scan may be alive.

        Raises `StorageFailure` (STORAGE_LOCKED when another process was quicker); the handle is then closed.
        """
        self._check_usable()
        self.close()
        try:
            self._engine = _open_engine(self.path, create=False, cache_bytes=self._cache_bytes)
        except Exception as error:
            raise _translate(error, self.path, "open") from error
        self._get, self._refusal = self._engine.get, None

    def close(self) -> None:
        """Give the directory back. Idempotent."""
        if self._refusal is None or self._refusal.code != "STORAGE_CLOSED":
            self._refusal = StorageFailure("STORAGE_CLOSED", "the database is closed", path=str(self.path))
            self._engine.close()

    def _check_usable(self) -> None:
        if self._refusal is not None:
            raise self._refusal


class Snapshot:
    """A frozen view. Reading a closed one is a `StorageFailure`."""

    def __init__(self, path: Path, engine_snapshot: Any) -> None:
        self.path = path
        self._engine = engine_snapshot
        self._get = engine_snapshot.get

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._get(key, verify_checksums=True)
        except Exception as error:
            raise _translate(error, self.path, "read") from error
        return value

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return _checked_rows(self._engine, self.path, start, stop, reverse)

    def close(self) -> None:
        self._engine.close()


def open_database(
    path: Path, *, create: bool = False, cache_bytes: int = DB_CACHE_BYTES, wait_for_lock_ms: int = 0
) -> Database:
    """Open the LevelDB directory `path`, or create it when `create` is set.

    `wait_for_lock_ms` bounds how long to wait for another process (a node that was just killed) to let go.
    A log torn by a power cut is cut after its last whole entry (`Database.recovered` says so). Raises
    `StorageFailure`: STORAGE_LOCKED (another process holds it), STORAGE_CORRUPT (names the file),
    STORAGE_MISSING, STORAGE_READ_FAILED.
    """
    if not create and not (path / "CURRENT").exists():
        raise StorageFailure(
            "STORAGE_MISSING",
            f"{path} holds no database; `drexnode init` makes one, or restore a backup",
            path=str(path),
        )
    deadline = time.monotonic() + wait_for_lock_ms / 1000
    recovered: list[str] = []
    while True:
        try:
            database = Database(path, _open_engine(path, create, cache_bytes), cache_bytes)
        except Exception as error:
            failure = _translate(error, path, "open")
            if failure.code == "STORAGE_CORRUPT" and not recovered:
                recovered = cut_torn_tails(path)
                if recovered:
                    continue
            if failure.code != "STORAGE_LOCKED" or time.monotonic() >= deadline:
                raise failure from error
            time.sleep(0.05)
        else:
            database.recovered = tuple(recovered)
            return database


def _open_engine(path: Path, create: bool, cache_bytes: int) -> Any:
    """Without compression: snappy costs twice as much processor time as everything else that LevelDB does
    (docs/decisions/0150). Each block of a table says how it is stored: older ones stay."""
    if create:
        path.mkdir(parents=True, exist_ok=True)
    return plyvel.DB(
        str(path),
        create_if_missing=create,
        paranoid_checks=True,
        write_buffer_size=DB_WRITE_BUFFER_BYTES,
        lru_cache_size=cache_bytes,
        bloom_filter_bits=DB_BLOOM_BITS,
        max_open_files=DB_MAX_OPEN_FILES,
        max_file_size=DB_TABLE_BYTES,
        compression=None,
    )


def _checked_rows(
    engine: Any, path: Path, start: bytes, stop: bytes, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    try:
        with engine.iterator(start=start, stop=stop, reverse=reverse, verify_checksums=True) as rows:
            yield from rows
    except GeneratorExit:
        raise
    except Exception as error:
        raise _translate(error, path, "read") from error


def _translate(error: Exception, path: Path, action: str) -> StorageFailure:
    """Give an engine error its stable code, the file it names and the next command."""
    text = str(error)
    if isinstance(error, StorageFailure):
        return error
    if isinstance(error, plyvel.CorruptionError) or "orruption" in text:
        found = _DAMAGED_FILE.search(text)
        damaged = found.group(1) if found else str(path)
        message = f"{damaged} is damaged ({text}); run `drexnode verify`, then `drexnode repair`"
        return StorageFailure("STORAGE_CORRUPT", message, path=str(path), file=damaged)
    if "lock" in text.lower():
        return StorageFailure("STORAGE_LOCKED", f"another process uses {path} ({text})", path=str(path))
    if action == "write":
        message = f"writing to {path} failed ({text}); free space or check the disk, then restart the node"
        return StorageFailure("STORAGE_WRITE_FAILED", message, path=str(path))
    message = f"cannot {action} {path} ({text}); check the disk, then run `drexnode verify`"
    return StorageFailure("STORAGE_READ_FAILED", message, path=str(path))
