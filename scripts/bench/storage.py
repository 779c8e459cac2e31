"""Measure storage: a block of transfers step by step, warming, RAM an output, lookups in RAM and through.

    .venv/bin/python -m scripts.bench.storage [--transfers 1000] [--outputs 200000] [--folder DIR]

`prepare` and `settle` run on the event loop in slices (CPU time, and the longest slice); `write` runs in a
thread with its sync (wall time). Figures are medians over the blocks after a warm-up.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import multiprocessing
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ledger.slices import Slices
from ledger.state import output_key, output_value
from storage.chain_store import open_chain_store
from storage.hot_set import entry_bytes
from storage.layout import STATE
from tests.storage.chains import CHAIN_ID, SyntheticChain, commit

T = TypeVar("T")
BLOCKS = 30
LOOKUPS = 50_000
OPEN = 1 << 40


def rss_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def drive(slices: Slices[T]) -> tuple[T, float, float]:
    """Run a sliced computation: its value, its CPU seconds, and its longest slice in seconds."""
    total = longest = 0.0
    while True:
        started = time.thread_time()
        try:
            next(slices)
        except StopIteration as stop:
            spent = time.thread_time() - started
            value: T = stop.value
            return value, total + spent, max(longest, spent)
        spent = time.thread_time() - started
        total, longest = total + spent, max(longest, spent)


def blocks(folder: Path, transfers: int) -> None:
    """Time the steps of blocks of transfers, one output into two."""
    store = open_chain_store(folder, CHAIN_ID, hot_set_bytes=OPEN, create=True)
    store.state.warm()
    chain = SyntheticChain(holders=20 * transfers)
    while len(chain.unspent) < 20 * transfers:
        commit(store, chain.emission(min(transfers, 1000)))
    figures: dict[str, list[float]] = {}
    for _ in range(BLOCKS):
        made = chain.transfers(transfers)
        prepared, prepare, longest = drive(store.prepare(made.block, made.delta, made.patch))
        started = time.perf_counter()
        store.write(prepared, made.certificate)
        write = time.perf_counter() - started
        store.apply(prepared)
        _, settle, longest_settle = drive(store.state.settle())
        step = {"prepare": prepare, "write with sync": write, "settle": settle}
        for name, seconds in step.items():
            figures.setdefault(f"{name}, µs/tx", []).append(seconds * 1e6 / transfers)
        figures.setdefault("rows/tx", []).append(prepared.rows / transfers)
        figures.setdefault("longest slice, ms", []).append(max(longest, longest_settle) * 1e3)
    print(f"blocks of {transfers} transfers")
    for name, values in figures.items():
        print(f"  {name:24} {statistics.median(values[5:]):8.2f}")
    store.close()


def entry(number: int) -> tuple[bytes, bytes]:
    """Output number `number`: its state key and value."""
    seed = hashlib.sha256(number.to_bytes(8, "big")).digest()
    return output_key(seed, 0), output_value(hashlib.sha256(seed).digest(), 1000, "BRL@00000001/DVT")


def fill(folder: Path, outputs: int) -> None:
    """Write a store of `outputs` unspent outputs."""
    store = open_chain_store(folder, CHAIN_ID, hot_set_bytes=OPEN, create=True)
    for start in range(0, outputs, 20_000):
        batch = store.database.batch()
        for key, value in map(entry, range(start, min(outputs, start + 20_000))):
            batch.put(STATE + key, value)
        store.database.write(batch)
    store.close()


def hot_set(folder: Path, outputs: int) -> None:
    """Warm that store, to a tenth and whole, and look outputs up."""
    size = outputs * entry_bytes(*entry(0))
    print(f"{outputs:,} unspent outputs, counted as {entry_bytes(*entry(0))} bytes each")
    for name, limit in (("a tenth in RAM", size // 10), ("all in RAM", OPEN)):
        store = open_chain_store(folder, CHAIN_ID, hot_set_bytes=limit)
        gc.collect()
        before, started = rss_bytes(), time.perf_counter()
        store.state.warm()
        warm, grown = time.perf_counter() - started, rss_bytes() - before
        entries = store.state.figures().entries
        print(f"  {name}: warmed in {warm:.2f} s, {grown / entries:.0f} bytes of RSS an output")
        for round_name in ("first", "again"):
            numbers = random.Random(1).sample(range(outputs), min(LOOKUPS, outputs))
            asked = [entry(number)[0] for number in numbers]  # fresh objects: no hash is cached
            print(f"    lookups, {round_name}: {_per_call(store.state.get, asked):.2f} µs")
        store.close()


def _per_call(get: Callable[[bytes], bytes | None], keys: list[bytes]) -> float:
    started = time.thread_time()
    for key in keys:
        if get(key) is None:
            raise RuntimeError("an output that was stored is not found")
    return (time.thread_time() - started) * 1e6 / len(keys)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transfers", type=int, default=1000)
    parser.add_argument("--outputs", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores")
    fresh = multiprocessing.get_context("spawn")  # memory is measured in a process that has freed none
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for part, size in ((blocks, options.transfers), (fill, options.outputs), (hot_set, options.outputs)):
            place = Path(folder) / ("blocks" if part is blocks else "outputs")
            process = fresh.Process(target=part, args=(place, size))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
