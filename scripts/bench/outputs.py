"""The workload of the storage measurements: as many unspent outputs as wanted, kept for the next run.

Promises: output number n of a size is the same in every run, so a store that was filled once is measured
again and again; owners are random, each one's output alone; outputs are numbered in the order of the tree's
buckets, so that filling writes every page of the tree once.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ledger.slices import finish
from ledger.state import Change, output_key, output_value
from ledger.state_tree import StateTree, TreePatch
from storage.block_rows import unspent_row
from storage.chain_store import ChainStore, open_chain_store
from storage.layout import PAGE, STATE
from storage.tree_rows import TreePages, put_edits
from tests.storage.chains import CHAIN_ID

BUCKETS = 2**20
HOT_SET_BYTES = 1 << 40  # all of it
TREE_BYTES = 1 << 40  # the same of the tree's pages
PART = 20_000  # outputs of one part: neighbours in the tree
ASSET = "BRL@00000001/DVT"

_DONE = "settled"


def entry(number: int, size: int, lock: bytes | None = None) -> tuple[bytes, bytes]:
    """State key and value of output `number` of `size` outputs. Numbers from `size` on lie anywhere."""
    seed = hashlib.sha256(number.to_bytes(8, "big")).digest()
    if lock is None:
        owner = hashlib.sha256(seed).digest()
        place = int.from_bytes(owner[:4], "big")
        if number < size:
            first = number // PART * PART
            width = min(PART, size - first)
            place = ((first << 32) + place * width) // size
        lock = place.to_bytes(4, "big") + owner[4:]
    return output_key(seed, 0), output_value(lock, 1000, ASSET)


def made(numbers: Iterator[int] | range, size: int, lock: bytes | None = None) -> dict[bytes, Change]:
    """The changes that make these outputs."""
    return {key: (None, value) for key, value in (entry(number, size, lock) for number in numbers)}


def spent(numbers: Iterator[int] | range, size: int) -> dict[bytes, Change]:
    """The changes that spend these outputs."""
    return {key: (value, None) for key, value in (entry(number, size) for number in numbers)}


def fill(folder: Path, size: int) -> None:
    """Make the store of `size` outputs in `folder`, state, index and tree, unless it is there already.

    Shows its progress on stderr."""
    if (folder / _DONE).exists():
        return
    folder.mkdir(parents=True)
    store = open_chain_store(folder / "chain", CHAIN_ID, hot_set_bytes=1 << 20, create=True)
    tree = StateTree(BUCKETS, TreePages(store.database), cache_bytes=PART << 8)
    begin = time.perf_counter()
    for first in range(0, size, PART):
        changes = made(range(first, min(size, first + PART)), size)
        patch = tree.apply(changes)
        _write_part(store, patch, changes)
        tree.commit(patch)
        _progress(
            f"making {min(size, first + PART):,} of {size:,} outputs, {time.perf_counter() - begin:.0f} s"
        )
    _progress("sorting")
    store.database.compact()  # years of blocks leave no such debt, and it would slow the writes measured
    store.close()
    (folder / _DONE).touch()
    _progress("", end="\n")


def _write_part(store: ChainStore, patch: TreePatch, changes: dict[bytes, Change]) -> None:
    """State and index in one batch, the tree's pages in another, each in key order."""
    batch = store.database.batch()
    rows = sorted((key, new) for key, (_, new) in changes.items() if new is not None)
    for key, value in rows:
        batch.put(STATE + key, value)
    for row in sorted(unspent_row(key, value) for key, value in rows):
        batch.put(row, b"")
    store.database.write(batch)
    batch = store.database.batch()
    for key, page in sorted(patch.page_writes()):
        if page is not None:  # outputs are made only
            batch.put(PAGE + key, page)
    store.database.write(batch)


def commit(
    store: ChainStore, tree: StateTree, height: int, changes: dict[bytes, Change]
) -> tuple[float, float]:
    """What a block does to state, index and tree: CPU seconds on the loop, wall seconds of its write."""
    begin = time.thread_time()
    patch = tree.apply(changes)
    batch = store.database.batch()
    for key in sorted(changes):
        old, new = changes[key]
        if new is None:
            if store.state.get(key) != old:
                raise RuntimeError("an output that was stored is not found")
            batch.delete(STATE + key)
        else:
            batch.put(STATE + key, new)
    index = [(unspent_row(key, new or old or b""), new) for key, (old, new) in changes.items()]
    for row, new in sorted(index):
        if new is None:
            batch.delete(row)
        else:
            batch.put(row, b"")
    rows = finish(put_edits(batch, height, patch))
    loop = time.thread_time() - begin
    started = time.perf_counter()
    store.database.write(batch)
    wall = time.perf_counter() - started
    begin = time.thread_time()
    store.state.apply(changes)
    store.state.settle_now()
    tree.commit(patch)
    finish(tree.settle())
    store.pages.block_applied(height, patch.root, rows)
    return loop + time.thread_time() - begin, wall


def _progress(words: str, end: str = "") -> None:
    print(f"\r{words:<70}", end=end, file=sys.stderr, flush=True)
