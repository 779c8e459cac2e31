"""Measure storage as the state grows: memory, start, lookups, updates and a block, at each number of outputs.

    .venv/bin/python -m scripts.bench.million [--outputs 10000 --outputs 1000000 …] [--folder DIR]

Stores are filled once and stay in DIR (build/outputs) for the next run. Each size is measured by a process of
its own, with all of the state in RAM and then with a tenth of it. A block spends 1,000 outputs and makes
1,000. Memory is what one part alone adds to a process of its own, beside what it is counted as; start
and write are wall time, all else processor time; medians.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from drexnode.node import settle_collector
from ledger.state_tree import StateTree
from scripts.bench.outputs import BUCKETS, HOT_SET_BYTES, TREE_BYTES, commit, entry, fill, made, spent
from scripts.bench.storage import rss_bytes
from storage.chain_store import ChainStore, open_chain_store
from storage.hot_set import entry_bytes
from storage.integrity import check_open
from storage.layout import PAGE, STATE, UNSPENT, after
from storage.tree_rows import TreePages
from tests.storage.chains import CHAIN_ID

SIZES = (10_000, 1_000_000)
BLOCKS = 20
OUTPUTS_A_BLOCK = 1_000
MIB = 1 << 20
LOOKUPS = 50_000

Figures = dict[str, float]


def memory_of_the_hot_set(folder: Path, size: int) -> Figures:
    """What warming adds to a process that has read every state entry before, and what it is counted as."""
    store = open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=HOT_SET_BYTES)
    before = _settled_bytes(store.database.scan(STATE, after(STATE)))
    store.state.warm()
    found, counted = rss_bytes() - before, store.state.figures().bytes
    store.close()
    return {"hot set, bytes an output": found / size, "  counted as": counted / size}


def memory_of_the_tree(folder: Path, size: int) -> Figures:
    """What the tree adds to a process that has read every page before: digests first, then bucket pages."""
    store = open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=1 << 20)
    before = _settled_bytes(store.database.scan(PAGE, after(PAGE)))
    pages = TreePages(store.database)
    tree = StateTree(BUCKETS, pages, cache_bytes=TREE_BYTES, keeps_unsaved=True)
    gc.collect()
    planted = rss_bytes()
    if not tree.preload(pages.bucket_pages()):
        raise RuntimeError("the pages do not fit")
    found = rss_bytes() - planted
    store.close()
    return {
        "tree's pages, bytes an output": found / size,
        "  its pages counted as": tree.cached_bytes / size,
        "tree's digests and places, MiB": (planted - before) / MIB,
    }


def memory_of_leveldb(folder: Path, size: int) -> Figures:
    """What LevelDB takes once every row, the indexes' too, has been read; and room on the disk."""
    before = _settled_bytes(iter(()))
    store = open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=1 << 20)
    found = _settled_bytes(store.database.scan(b"", b"\xff")) - before
    disk = store.database.size_bytes()
    kinds = {name: sum(len(k) + len(v) for k, v in store.database.scan(kind, after(kind)))
             for name, kind in (("state", STATE), ("index of owners", UNSPENT), ("tree", PAGE))}  # fmt: skip
    store.close()
    return {
        "LevelDB with its 64 MiB cache, MiB": found / MIB,
        "on disk, bytes an output": disk / size,
    } | {f"  rows of the {name}, bytes an output": held / size for name, held in kinds.items()}


def _settled_bytes(rows: Iterator[tuple[bytes, bytes]]) -> int:
    """Resident memory after these rows were read: LevelDB's cache would count as the next part's."""
    for _ in rows:
        pass
    gc.collect()
    return rss_bytes()


def start(folder: Path, size: int) -> Figures:
    """Seconds from nothing to a checked store with a warm hot set (Python and its imports apart)."""
    begin, worked = time.perf_counter(), time.process_time()
    store = open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=HOT_SET_BYTES)
    opened = time.perf_counter()
    check_open(store, CHAIN_ID, BUCKETS, tree_bytes=TREE_BYTES)
    ready, worked = time.perf_counter(), time.process_time() - worked
    if not store.state.figures().entries == size:
        raise RuntimeError("the store is not what was filled")
    store.close()
    return {
        "start, s": ready - begin,
        "  its processor time, s": worked,
        "  of it opening LevelDB, s": opened - begin,
    }


def in_ram(folder: Path, size: int) -> Figures:
    """Lookups, blocks and a ground bucket with all of the state in RAM."""
    return _work(folder, size, HOT_SET_BYTES, "all in RAM", ground=True)


def a_tenth(folder: Path, size: int) -> Figures:
    """Lookups and blocks with a tenth of the state in RAM."""
    return _work(folder, size, size * entry_bytes(*entry(0, size)) // 10, "a tenth in RAM", ground=False)


def _work(folder: Path, size: int, hot_set_bytes: int, name: str, *, ground: bool) -> Figures:
    store = open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=hot_set_bytes)
    tree = check_open(store, CHAIN_ID, BUCKETS, tree_bytes=TREE_BYTES)
    settle_collector()  # as a node does before it begins
    figures = {f"{name}: lookup, µs": _lookup(store, size)}
    numbers = random.Random(3).sample(range(size), min(size, BLOCKS * OUTPUTS_A_BLOCK))
    fresh, heights = itertools.count(size + 1), itertools.count(1)
    loops, writes = [], []
    for first in range(0, len(numbers), OUTPUTS_A_BLOCK):
        old = numbers[first : first + OUTPUTS_A_BLOCK]
        changes = spent(iter(old), size) | made(itertools.islice(fresh, len(old)), size)
        loop, write = commit(store, tree, next(heights), changes)
        loops.append(loop * 1e6 / len(changes))
        writes.append(write * 1e3)
    figures[f"{name}: update, µs"] = statistics.median(loops)
    figures[f"{name}: write of a block, ms"] = statistics.median(writes)
    figures[f"{name}: block, ms"] = (
        figures[f"{name}: update, µs"] * 2 + figures[f"{name}: write of a block, ms"]
    )
    if ground:
        figures["1,000 in one bucket, times 1,000 anywhere"] = _ground(store, tree, heights, fresh, size)
    store.close()
    return figures


def _lookup(store: ChainStore, size: int) -> float:
    asked = [entry(n, size)[0] for n in random.Random(1).choices(range(size), k=LOOKUPS)]
    get = store.state.get
    begin = time.thread_time()
    for key in asked:
        if get(key) is None:
            raise RuntimeError("an output that was stored is not found")
    return (time.thread_time() - begin) * 1e6 / len(asked)


def _ground(
    store: ChainStore, tree: StateTree, heights: Iterator[int], fresh: Iterator[int], size: int
) -> float:
    one, anywhere = list[float](), list[float]()
    for _ in range(BLOCKS // 2):
        for costs, lock in ((one, b"\xff" * 4 + bytes(28)), (anywhere, None)):
            changes = made(itertools.islice(fresh, OUTPUTS_A_BLOCK), size, lock)
            costs.append(commit(store, tree, next(heights), changes)[0])
    return statistics.median(one) / statistics.median(anywhere)


def _borrowed(folder: Path, place: str) -> Path:
    """A copy of a filled store to write into: LevelDB never changes a table, so tables are linked."""
    copy = Path(place)
    (copy / "chain").mkdir()
    for file in (folder / "chain").iterdir():
        if file.suffix == ".ldb":
            os.link(file, copy / "chain" / file.name)
        elif file.name != "LOCK":
            shutil.copyfile(file, copy / "chain" / file.name)
    return copy


def _measure(part: Callable[[Path, int], Figures], folder: Path, size: int, answer: Connection) -> None:
    with tempfile.TemporaryDirectory(prefix="copy-", dir=folder) as place:
        answer.send(part(_borrowed(folder, place), size))


def measure(folder: Path, size: int) -> Figures:
    """All figures of one size, each part in a process that has freed no memory before."""
    figures: Figures = {}
    fresh = multiprocessing.get_context("spawn")
    for part in (memory_of_the_hot_set, memory_of_the_tree, memory_of_leveldb, start, in_ram, a_tenth):
        answer, theirs = fresh.Pipe(duplex=False)
        process = fresh.Process(target=_measure, args=(part, folder, size, theirs))
        process.start()
        theirs.close()
        print(f"{size:,} outputs: {part.__name__}", file=sys.stderr, flush=True)
        try:
            figures |= answer.recv()
        except EOFError:
            raise SystemExit(f"{part.__name__} broke off") from None
        finally:
            process.join()
    return figures


def show(found: dict[int, Figures]) -> None:
    """One line a figure, one column a size, and what the last size costs as a multiple of the first."""
    sizes = list(found)
    print(f"{'outputs':44}" + "".join(f"{size:>12,}" for size in sizes) + f"{'last : first':>14}")
    for name in found[sizes[0]]:
        values = [found[size][name] for size in sizes]
        ratio = f"{values[-1] / values[0]:14.2f}" if values[0] > 0 else ""
        print(f"{name:44}" + "".join(f"{value:12.2f}" for value in values) + ratio)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outputs", type=int, action="append", help="a size; repeat it, smallest first")
    parser.add_argument("--folder", type=Path, default=Path("build/outputs"), help="on the disk to measure")
    parser.add_argument("--fill", action="store_true", help="only make the stores")
    options = parser.parse_args()
    sizes: list[int] = options.outputs or list(SIZES)
    for size in sizes:
        fill(options.folder / str(size), size)
    if not options.fill:
        show({size: measure(options.folder / str(size), size) for size in sizes})


if __name__ == "__main__":
    main()
