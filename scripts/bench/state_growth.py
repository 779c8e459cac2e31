"""Measure how a block's cost grows with the state: a few unspent outputs against many, on a real store.

    .venv/bin/python -m scripts.bench.state_growth [--outputs 200000] [--buckets 1048576] [--folder DIR]

A block spends 1,000 outputs and makes 1,000. CPU time of the tree, the batch and the hot set, which are on
the event loop; wall time of the synced write. Then a block whose 1,000 new outputs were ground into one
bucket. Figures are medians of the blocks.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ledger.state import Change, output_key, output_value
from ledger.state_tree import StateTree
from storage.chain_store import ChainStore, open_chain_store
from storage.layout import PAGE, STATE
from storage.tree_rows import TreePages
from tests.storage.chains import CHAIN_ID

SMALL = 10_000
OUTPUTS_A_BLOCK = 1_000
BLOCKS = 10
HOT_SET_BYTES = 1 << 40


def entry(number: int, lock: bytes | None = None) -> tuple[bytes, bytes]:
    """Output number `number`: its state key and value."""
    seed = hashlib.sha256(number.to_bytes(8, "big")).digest()
    owner = hashlib.sha256(seed).digest() if lock is None else lock
    return output_key(seed, 0), output_value(owner, 1000, "BRL@00000001/DVT")


def made(first: int, count: int, lock: bytes | None = None) -> dict[bytes, Change]:
    """The changes that make outputs."""
    return {key: (None, value) for key, value in (entry(first + place, lock) for place in range(count))}


def spent(first: int, count: int) -> dict[bytes, Change]:
    """The changes that spend outputs."""
    return {key: (value, None) for key, value in map(entry, range(first, first + count))}


def commit(store: ChainStore, tree: StateTree, changes: Mapping[bytes, Change]) -> tuple[float, float]:
    """Do what a block does to state, tree and hot set; CPU seconds on the loop, wall seconds of the write."""
    begin = time.thread_time()
    patch = tree.apply(changes)
    batch = store.database.batch()
    for key, (_, new) in changes.items():
        if new is None:
            batch.delete(STATE + key)
        else:
            batch.put(STATE + key, new)
    for key, page in patch.page_writes():
        if page is None:
            batch.delete(PAGE + key)
        else:
            batch.put(PAGE + key, page)
    loop = time.thread_time() - begin
    started = time.perf_counter()
    store.database.write(batch)
    wall = time.perf_counter() - started
    begin = time.thread_time()
    store.state.apply(changes)
    store.state.settle_now()
    tree.commit(patch)
    for _ in tree.settle():
        pass
    return loop + time.thread_time() - begin, wall


def measure(store: ChainStore, tree: StateTree, first: int, size: int) -> tuple[float, float]:
    """Median µs an update on the loop, and ms of the write, at outputs `first` … `first + size`."""
    figures = []
    for block in range(BLOCKS):
        oldest, newest = first + block * OUTPUTS_A_BLOCK, first + size + block * OUTPUTS_A_BLOCK
        changes = spent(oldest, OUTPUTS_A_BLOCK) | made(newest, OUTPUTS_A_BLOCK)
        loop, wall = commit(store, tree, changes)
        figures.append((loop * 1e6 / len(changes), wall * 1e3))
    loops, walls = zip(*figures, strict=True)
    return statistics.median(loops), statistics.median(walls)


def grow(store: ChainStore, tree: StateTree, first: int, count: int) -> None:
    """Make outputs `first` … `first + count`."""
    for start in range(first, first + count, 20_000):
        commit(store, tree, made(start, min(20_000, first + count - start)))


def ground(store: ChainStore, tree: StateTree, first: int) -> float:
    """How many times as much 1,000 outputs in one bucket cost as 1,000 anywhere: the median block of each."""
    one, any_ = [], []
    for block in range(BLOCKS):
        number, lock = first + block * OUTPUTS_A_BLOCK, b"\xff" * 4 + bytes(28)
        one.append(commit(store, tree, made(number, OUTPUTS_A_BLOCK, lock))[0])
        any_.append(commit(store, tree, made(first * 2 + number, OUTPUTS_A_BLOCK))[0])
    return statistics.median(one) / statistics.median(any_)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outputs", type=int, default=200_000)
    parser.add_argument("--buckets", type=int, default=2**20)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = open_chain_store(Path(folder) / "chain", CHAIN_ID, hot_set_bytes=HOT_SET_BYTES, create=True)
        store.state.warm()
        tree = StateTree(options.buckets, TreePages(store.database))
        grow(store, tree, 0, SMALL)
        few = measure(store, tree, 0, SMALL)
        first = BLOCKS * OUTPUTS_A_BLOCK
        grow(store, tree, first + SMALL, options.outputs - SMALL)
        many = measure(store, tree, first, options.outputs)
        times = ground(store, tree, 10 * options.outputs)
        store.close()
    for size, (loop, wall) in ((SMALL, few), (options.outputs, many)):
        print(f"{size:>9,} outputs: {loop:6.2f} µs CPU an update, {wall:6.2f} ms the synced write of a block")
    print(f"ratio {many[0] / few[0]:.2f}; 1,000 outputs in one bucket cost {times:.2f} times 1,000 anywhere")


if __name__ == "__main__":
    main()
