"""Measure the state tree: microseconds an update and memory, at a number of keys and buckets.

    .venv/bin/python -m scripts.bench.state_tree [--keys 1000000] [--buckets 1048576] [--batch 4000]

A batch is like a block: half of its updates spend an output, half create one. Times are CPU times.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import resource
import time

from ledger.state import StateDelta, output_key, output_value
from ledger.state_tree import StateTree


class RamPages(dict[bytes, bytes]):
    """A page store that is a dictionary."""

    load = dict.get

    def write(self, pages: dict[bytes, bytes | None]) -> None:
        for key, page in pages.items():
            if page is None:
                self.pop(key, None)
            else:
                self[key] = page


def entry(number: int) -> tuple[bytes, bytes]:
    """Output number `number`: its state key and value, at a lock of its own."""
    seed = hashlib.sha256(number.to_bytes(8, "big")).digest()
    lock = hashlib.sha256(seed).digest()
    return output_key(seed, 0), output_value(lock, 10_000 + number, "BRL")


def rss_mb() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--buckets", type=int, default=2**20)
    parser.add_argument("--batch", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    pages, before = RamPages(), rss_mb()
    tree = StateTree(options.buckets, pages, cache_bytes=1 << 40)
    started = time.thread_time()
    for start in range(0, options.keys, 50_000):
        fill = {key: (None, value) for key, value in map(entry, range(start, start + 50_000))}
        patch = tree.apply(fill)
        tree.commit(patch)
        pages.write(dict(patch.page_writes()))
    print(f"filled {options.keys:,} keys in {time.thread_time() - started:.1f} s")
    spent, made, times, longest = 0, options.keys, [], 0.0
    for _ in range(options.rounds):
        half = options.batch // 2
        changes: dict[bytes, tuple[bytes | None, bytes | None]] = {}
        for key, value in map(entry, range(spent, spent + half)):
            changes[key] = (value, None)
        for key, value in map(entry, range(made, made + half)):
            changes[key] = (None, value)
        spent, made = spent + half, made + half
        gc.collect()
        steps, started = tree.apply_in_slices(StateDelta.of(changes)), time.thread_time()
        while True:
            slice_started = time.thread_time()
            try:
                next(steps)
            except StopIteration as stop:
                patch = stop.value
                break
            finally:
                longest = max(longest, time.thread_time() - slice_started)
        tree.commit(patch)
        times.append((time.thread_time() - started) / options.batch * 1e6)
        pages.write(dict(patch.page_writes()))
    del patch, changes
    gc.collect()
    print(
        f"{sorted(times)[len(times) // 2]:.2f} µs an update (median), best {min(times):.2f}; "
        f"longest slice {longest * 1e3:.2f} ms"
    )
    page_bytes = sum(map(len, pages.values())) / 2**20
    print(f"{rss_mb() - before:.0f} MB resident with every page in RAM ({page_bytes:.0f} MB of pages)")
    started = time.thread_time()
    reopened = StateTree(options.buckets, pages)
    same = "equal" if reopened.root == tree.root else "DIFFERS"
    print(f"reopened in {time.thread_time() - started:.2f} s, root {same}")


if __name__ == "__main__":
    main()
