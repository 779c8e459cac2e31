"""Measure one node's path of a transaction, without a network: processor microseconds by stage.

    python -m scripts.bench.pipeline [--transactions 8000] [--block 1000] [--wallets 1000] [--repeat 3]

Transfers of one input, two outputs and one signature, signed beforehand, each by a wallet that pays
another. The stages are the node's own parts, called as the node calls them. Figures are processor time (all
threads), so they hold on a busy machine better than wall time does. JSON: medians and spread of the repeats.
"""

from __future__ import annotations

import gc
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from drexnode.finalizer import Finalizer
from drexnode.node import settle_collector
from drexnode.pool_gate import PoolGate
from drexnode.telemetry import setup_logging
from ledger.block import FinalizedBlock
from ledger.build import build_body, build_transaction, make_output
from ledger.checks import check_stateless
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB
from ledger.execute import ExecutedBlock, build_block, execute_block
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument, GenesisOutput, GenesisWallets
from ledger.locks import key_lock
from ledger.mempool import Mempool
from ledger.payloads import Kind
from ledger.slices import finish
from ledger.transaction import OutPoint, Transaction, decode_transaction, signature_checks
from primitives.hashing import tagged_hash
from primitives.keys import SigningKey, verify_many
from primitives.limits import ADMIT_SLICE
from scripts.bench.report import report
from tests.drexnode.chain import certify, genesis_document, open_finalizer, validator_keys

AMOUNT = 100


class Stages:
    """Processor seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count what the block takes as `stage`'s."""
        begin = time.process_time()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.process_time() - begin


def make_wallets(count: int) -> list[SigningKey]:
    """The same keys in every run."""
    return [SigningKey(tagged_hash("bench/wallet", number.to_bytes(8, "big"))) for number in range(count)]


def make_document(wallets: Sequence[SigningKey], coins: int) -> GenesisDocument:
    """A devnet's genesis with `coins` coins, held by the wallets in turn."""
    locks = [key_lock(wallet.public_key) for wallet in wallets]
    document = genesis_document(validators=1, outputs=1)
    mine = GenesisWallets(BANK_A_ISPB, tuple(sorted(locks)))
    others = tuple(entry for entry in document.wallets if entry.issuer != BANK_A_ISPB)
    return GenesisDocument(
        **{name: getattr(document, name) for name in GenesisDocument.__struct_fields__}
        | {
            "wallets": tuple(sorted((mine, *others), key=lambda entry: entry.issuer)),
            "outputs": tuple(
                GenesisOutput(BANK_A_DVT, AMOUNT, locks[place % len(locks)]) for place in range(coins)
            ),
        }
    )


def sign(wallets: Sequence[SigningKey], chain_id: bytes, coins: int) -> list[bytes]:
    """A transfer of each coin of the genesis: a part to another wallet, the rest back."""
    raws = []
    for place in range(coins):
        payer = wallets[place % len(wallets)]
        payee = wallets[(7 * place + 1) % len(wallets)]
        outputs = [
            make_output(BANK_A_DVT, 40, key_lock(payee.public_key)),
            make_output(BANK_A_DVT, AMOUNT - 40, key_lock(payer.public_key)),
        ]
        body = build_body(Kind.TRANSFER, [OutPoint(chain_id, place)], outputs)
        raws.append(build_transaction(body, chain_id, [payer]).raw)
    return raws


def measure(document: GenesisDocument, raws: Sequence[bytes], block_size: int) -> dict[str, float]:
    """Microseconds a transaction, by stage, of one run through a new store."""
    stages = Stages()
    gc.collect()
    with (
        tempfile.TemporaryDirectory(prefix="drexnode-bench-") as folder,
        open_finalizer(Path(folder), document) as finalizer,
    ):
        chain_id, now_ms = finalizer.chain_id, document.timestamp_ms
        gate = PoolGate(Mempool(), finalizer, lambda: now_ms)
        (proposer,) = validator_keys(1)
        for start in range(0, len(raws), block_size):
            now_ms += 100
            transactions = _admit(stages, gate, chain_id, raws[start : start + block_size])
            with stages.time("build"):
                built = finish(
                    build_block(
                        finalizer.state, finalizer.tree, finalizer.context(), proposer, now_ms,
                        gate.candidates(),
                    )
                ).executed  # fmt: skip
            with stages.time("execute"):
                executed = finish(
                    execute_block(finalizer.state, finalizer.tree, finalizer.context(), built.block)
                )
            header = built.block.header
            certificate = certify(header, chain_id, finalizer.head.validators)
            block = FinalizedBlock(built.block, certificate)
            _finalize(stages, finalizer, gate, block, executed)
            if len(transactions) != header.tx_count or len(gate.pool):
                raise RuntimeError("a transfer was refused: the measurement is void")
    return {stage: round(1e6 * seconds / len(raws), 2) for stage, seconds in stages.seconds.items()}


def _admit(stages: Stages, gate: PoolGate, chain_id: bytes, raws: Sequence[bytes]) -> list[Transaction]:
    with stages.time("decode"):
        transactions = [decode_transaction(raw, chain_id) for raw in raws]
    with stages.time("shape"):
        for transaction in transactions:
            check_stateless(transaction)
    with stages.time("signatures"):
        checks = [check for transaction in transactions for check in signature_checks(transaction)]
        if not all(verify_many(checks)):
            raise RuntimeError("a signature does not verify")
    with stages.time("enter the pool"):
        for start in range(0, len(transactions), ADMIT_SLICE):
            gate.enter(transactions[start : start + ADMIT_SLICE])
    return transactions


def _finalize(
    stages: Stages, finalizer: Finalizer, gate: PoolGate, block: FinalizedBlock, executed: ExecutedBlock
) -> None:
    """What `Finalizer.finalize` does, step by step."""
    store = finalizer.store
    with stages.time("prepare LevelDB's batch"):
        prepared = finish(store.prepare(block.block, executed.delta, executed.patch))
    with stages.time("write it"):
        store.write(prepared, block.certificate)
    with stages.time("apply and settle"):
        store.apply(prepared)
        finalizer.tree.commit(executed.patch)
        finalizer._advance(block, executed)
        finish(store.state.settle())
        finish(finalizer.tree.settle())
    with stages.time("leave the pool"):
        gate.begin_leaving(block)
        while (final := gate.next_leaving()) is not None:
            finish(gate.leave(final))


@click.command()
@click.option("--transactions", default=8000, show_default=True)
@click.option("--block", "block_size", default=1000, show_default=True, help="Transactions in a block.")
@click.option("--wallets", default=1000, show_default=True, help="1: all money under one lock.")
@click.option("--repeat", default=3, show_default=True)
def main(transactions: int, block_size: int, wallets: int, repeat: int) -> None:
    """Measure each stage on its own."""
    keys = make_wallets(wallets)
    document = make_document(keys, transactions)
    raws = sign(keys, chain_id_of(document), transactions)
    setup_logging("warning")
    settle_collector()
    runs = [measure(document, raws, block_size) for _ in range(repeat)]
    figures = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    spread = {stage: [min(r[stage] for r in runs), max(r[stage] for r in runs)] for stage in runs[0]}
    total = sum(value for stage, value in figures.items() if stage != "build")  # others execute it
    results = {
        "bytes_a_transaction": len(raws[0]),
        "us_a_transaction": figures,
        "us_a_transaction_of_a_voter": round(total, 1),
        "spread_us": spread,
    }
    print(
        json.dumps(report({"transactions": transactions, "block": block_size, "wallets": wallets}, results))
    )


if __name__ == "__main__":
    main()
