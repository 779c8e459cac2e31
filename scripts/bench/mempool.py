"""Measure the mempool: microseconds a transaction to add, to offer for a block, and to take out when final.

.venv/bin/python -m scripts.bench.mempool [--transactions 20000] [--participants 20]
"""

from __future__ import annotations

import argparse
import gc
import time

from ledger.build import build_body, make_output
from ledger.mempool import Mempool, NewEntry
from ledger.payloads import Kind
from ledger.transaction import OutPoint, Transaction, Witness, make_transaction


def transaction(number: int) -> Transaction:
    """A transfer of one input and two outputs; its signature is not looked at here."""
    outputs = [make_output("BRL", 5, bytes(32)), make_output("BRL", 6, bytes(32))]
    body = build_body(Kind.TRANSFER, [OutPoint(number.to_bytes(32, "big"), 0)], outputs, valid_until=1000)
    return make_transaction(body, Witness(((bytes(32), bytes(64)),), (), ()), bytes(32))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--participants", type=int, default=20)
    options = parser.parse_args()
    count = options.transactions
    made = [transaction(number) for number in range(count)]
    entries = [NewEntry(item, f"bank {place % options.participants}") for place, item in enumerate(made)]
    best: dict[str, float] = {}
    for _ in range(5):
        pool = Mempool()
        gc.collect()
        started = time.perf_counter()
        for start in range(0, count, 100):
            pool.add(entries[start : start + 100], 0, 1)
        added = time.perf_counter()
        given = list(pool.candidates(2))
        offered = time.perf_counter()
        for _ in pool.finalise(given, 2, 0):
            pass
        ended = time.perf_counter()
        for name, seconds in (
            ("add", added - started),
            ("offer", offered - added),
            ("final", ended - offered),
        ):
            best[name] = min(best.get(name, 1e9), seconds / count * 1e6)
    print(", ".join(f"{name} {value:.2f} µs" for name, value in best.items()), "a transaction")


if __name__ == "__main__":
    main()
