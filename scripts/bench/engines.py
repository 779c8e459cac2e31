"""Measure LevelDB beside RocksDB and LMDB: the same outputs and the same blocks, in one run, as ratios.

    .venv/bin/python -m pip install --no-deps --require-hashes -r requirements/bench.lock
    .venv/bin/python -m scripts.bench.engines [--outputs 1000000] [--folder DIR]

Each engine gets the state entries of that many outputs in batches of 20,000, then blocks of 1,000 deletes and
1,000 inserts, every batch synced; then single reads at random and one scan, checksums verified where the
engine has any (LMDB has none). Filter and caches are as the node sets LevelDB's. Wall time, of
blocks the median; ratios are to LevelDB.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from primitives.limits import DB_BLOOM_BITS, DB_CACHE_BYTES, DB_WRITE_BUFFER_BYTES
from scripts.bench.outputs import entry
from storage.leveldb import open_database

BATCH = 20_000
BLOCKS = 30
CHANGES = 1_000
READS = 100_000

Rows = Iterable[tuple[bytes, bytes | None]]
Figures = dict[str, float]


class Engine(Protocol):
    """What an engine has to do here."""

    def write(self, rows: Rows) -> None:
        """Put (key, value), or delete where the value is None, in one synced batch."""

    def get(self, key: bytes) -> bytes | None:
        """The value under a key."""

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """Every row."""

    def close(self) -> None:
        """Close it."""


class LevelDb:
    """As the node uses it."""

    def __init__(self, folder: Path) -> None:
        self._database = open_database(folder, create=True)
        self.get = self._database.get
        self.close = self._database.close

    def write(self, rows: Rows) -> None:
        """See `Engine`."""
        batch = self._database.batch()
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._database.write(batch)

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """See `Engine`."""
        return self._database.scan(b"", b"\xff" * 64)


class RocksDb:
    """By rocksdict, with raw keys."""

    def __init__(self, folder: Path) -> None:
        self._module: Any = importlib.import_module("rocksdict")
        options = self._module.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(DB_WRITE_BUFFER_BYTES)
        tables = self._module.BlockBasedOptions()
        tables.set_block_cache(self._module.Cache(DB_CACHE_BYTES))
        tables.set_bloom_filter(DB_BLOOM_BITS, False)
        options.set_block_based_table_factory(tables)
        self._database = self._module.Rdict(str(folder), options)
        self._synced = self._module.WriteOptions()
        self._synced.sync = True
        self.get: Callable[[bytes], bytes | None] = self._database.get
        self.close: Callable[[], None] = self._database.close

    def write(self, rows: Rows) -> None:
        """See `Engine`."""
        batch = self._module.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._database.write(batch, self._synced)

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """See `Engine`."""
        yield from self._database.items()


class Lmdb:
    """By lmdb: a memory map, one writer; a transaction ends with a sync."""

    def __init__(self, folder: Path) -> None:
        module: Any = importlib.import_module("lmdb")
        self._environment = module.open(str(folder), map_size=64 << 30)
        self._reading = self._environment.begin()
        self.get: Callable[[bytes], bytes | None] = self._reading.get

    def write(self, rows: Rows) -> None:
        """See `Engine`."""
        self._reading.abort()
        with self._environment.begin(write=True) as writing:
            for key, value in rows:
                if value is None:
                    writing.delete(key)
                else:
                    writing.put(key, value)
        self._reading = self._environment.begin()
        self.get = self._reading.get

    def scan(self) -> Iterator[tuple[bytes, bytes]]:
        """See `Engine`."""
        return iter(self._reading.cursor())

    def close(self) -> None:
        """See `Engine`."""
        self._reading.abort()
        self._environment.close()


ENGINES: dict[str, Callable[[Path], Engine]] = {"LevelDB": LevelDb, "RocksDB": RocksDb, "LMDB": Lmdb}


def measure(make: Callable[[Path], Engine], folder: Path, outputs: int) -> Figures:
    """All figures of one engine."""
    folder.mkdir()
    engine = make(folder)
    filling = 0.0
    for first in range(0, outputs, BATCH):
        rows = sorted(entry(number, outputs) for number in range(first, min(outputs, first + BATCH)))
        begin = time.perf_counter()
        engine.write(rows)
        filling += time.perf_counter() - begin
    gone = iter(random.Random(1).sample(range(outputs), min(outputs // 2, BLOCKS * CHANGES)))
    fresh, blocks, spent = itertools.count(outputs), list[float](), set[int]()
    while numbers := list(itertools.islice(gone, CHANGES)):
        spent.update(numbers)
        changes: list[tuple[bytes, bytes | None]] = [(entry(number, outputs)[0], None) for number in numbers]
        changes += [entry(next(fresh), outputs) for _ in numbers]
        changes.sort(key=lambda row: row[0])
        begin = time.perf_counter()
        engine.write(changes)
        blocks.append(time.perf_counter() - begin)
    asked = (random.Random(2).randrange(outputs) for _ in itertools.count())
    keys = [entry(n, outputs)[0] for n in itertools.islice((n for n in asked if n not in spent), READS)]
    begin = time.perf_counter()
    if not all(map(engine.get, keys)):
        raise RuntimeError("an output that was stored is not found")
    reading = time.perf_counter() - begin
    begin = time.perf_counter()
    found = sum(1 for _ in engine.scan())
    scanning = time.perf_counter() - begin
    if found != outputs:
        raise RuntimeError(f"{found} rows were found, not {outputs}")
    engine.close()
    return {
        "filling, µs a row": filling * 1e6 / outputs,
        "a block of 2,000 changes, ms": statistics.median(blocks) * 1e3,
        "its slowest, ms": max(blocks) * 1e3,
        "a read at random, µs": reading * 1e6 / READS,
        "a scan, µs a row": scanning * 1e6 / outputs,
        "on disk, bytes a row": sum(file.stat().st_blocks * 512 for file in folder.iterdir()) / outputs,
    }


def show(found: dict[str, Figures]) -> None:
    """LevelDB's figures, and of each engine the ratio to them."""
    base, *others = found
    print(f"{'':32}{base:>12}" + "".join(f"{name:>12}" for name in others))
    for figure, value in found[base].items():
        print(f"{figure:32}{value:12.2f}" + "".join(f"{found[o][figure] / value:11.2f}x" for o in others))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outputs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    options = parser.parse_args()
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="drexnode-bench-", dir=options.folder) as folder:
        for name, make in ENGINES.items():
            print(f"{name}: {options.outputs:,} outputs", file=sys.stderr, flush=True)
            found[name] = measure(make, Path(folder) / name, options.outputs)
    show(found)


if __name__ == "__main__":
    main()
