"""Measure the ledger: microseconds a transaction to decode, check, verify and apply.

    .venv/bin/python -m scripts.bench.ledger [--transactions 20000] [--repeat 3]

Plain transfers (one input, two outputs, one key) of retail money, each from another wallet to another, on a
state in a dictionary, in blocks. The best of the repeats counts; other work only makes it slower.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable

from ledger.apply import apply_transaction
from ledger.build import assemble, build_body, make_output
from ledger.checks import check_stateless
from ledger.locks import key_lock
from ledger.payloads import Kind
from ledger.registry import put_wallet
from ledger.state import StateView, balance_key, output_key, output_value
from ledger.transaction import OutPoint, Transaction, decode_transaction, signature_checks
from primitives.hashing import tagged_hash
from primitives.keys import verify_many
from tests.ledger.world import BANK_A, CHAIN_ID, DVT_A, World

VERIFIED = 300  # signatures that are really verified, to state their price


def make_world(count: int) -> tuple[World, list[bytes]]:
    """A state with `count` funded wallets, and a transfer of each to the next, as bytes."""
    world = World.genesis()
    view = StateView(world.state)
    keys = [tagged_hash("bench", number.to_bytes(8, "big")) for number in range(count)]
    locks = [key_lock(key) for key in keys]
    raw = []
    for number, (key, lock) in enumerate(zip(keys, locks, strict=True)):
        txid = tagged_hash("bench/tx", key)
        put_wallet(view, BANK_A, lock, 0)
        view.put(output_key(txid, 0), output_value(lock, 10_000, DVT_A))
        view.put(balance_key(lock, DVT_A), (10_000).to_bytes(8, "big"))
        outputs = [
            make_output(DVT_A, 2_500, locks[(number + 1) % count]),
            make_output(DVT_A, 7_500, lock),
        ]
        body = build_body(Kind.TRANSFER, [OutPoint(txid, 0)], outputs, reference=b"bench-%08d" % number)
        raw.append(assemble(body, CHAIN_ID, [(key, bytes(64))]).raw)
    for name, (_, new) in view.delta().changes.items():
        if new is not None:
            world.state.entries[name] = new
    return world, raw


def best(repeat: int, count: int, run: Callable[[], object]) -> float:
    """Microseconds per transaction of the fastest of `repeat` runs."""
    fastest = float("inf")
    for _ in range(repeat):
        gc.collect()
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest / count * 1e6


def main() -> None:
    """Print a line per stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--block", type=int, default=1_000, help="transactions applied to one view")
    options = parser.parse_args()
    count, repeat = options.transactions, options.repeat
    world, raw = make_world(count)
    context = world.context
    transactions: list[Transaction] = [decode_transaction(data, CHAIN_ID) for data in raw]

    def decode() -> None:
        for data in raw:
            decode_transaction(data, CHAIN_ID)

    def stateless() -> None:
        for transaction in transactions:
            check_stateless(transaction)

    def apply() -> None:
        for start in range(0, count, options.block):
            view = StateView(world.state)
            for transaction in transactions[start : start + options.block]:
                apply_transaction(view, transaction, context)

    def verify() -> None:
        for transaction in transactions[:VERIFIED]:
            verify_many(signature_checks(transaction))

    decoding, applying = best(repeat, count, decode), best(repeat, count, apply)
    print(f"decode     {decoding:7.2f} µs/tx   ({len(raw[0])} bytes)")
    print(f"stateless  {best(repeat, count, stateless):7.2f} µs/tx")
    print(f"verify     {best(repeat, VERIFIED, verify):7.2f} µs/tx   (one signature, refused late)")
    print(f"apply      {applying:7.2f} µs/tx")
    print(f"decode + apply {decoding + applying:.2f} µs/tx")


if __name__ == "__main__":
    main()
