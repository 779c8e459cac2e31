"""A network with a large state, made before its nodes start: real blocks through the ledger's and the store's
own path, in the first validator's home, and copied to the others.

Each seed of the genesis becomes a thousand unspent outputs by one transfer of its owner, who enables as many
wallets as the genesis has of Bank A: so the money lies under many locks. Blocks are sealed with the
validators' real keys; every node checks what it opens as it would its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio
from msgspec import structs

from drexnode.config import load_config
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.network_plan import NetworkPlan
from drexnode.recovery import open_chain
from drexnode.telemetry import setup_logging
from ledger.block import FinalizedBlock
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB
from ledger.execute import build_block
from ledger.genesis_records import GenesisDocument, GenesisOutput
from ledger.locks import key_lock
from ledger.payloads import Kind
from ledger.slices import finish
from ledger.transaction import OutPoint, Transaction
from primitives.block import block_id
from primitives.certificate import CommitCertificate, commit_sighash, vote_domain
from primitives.keys import SigningKey
from scripts.bench.report import say

SEED_OUTPUTS = 1_000
BLOCK_TRANSFERS = 14  # of a thousand outputs each: they fill a block of 1 MiB
SAY_EVERY_S = 5.0
HOT_SET_BYTES = 8 << 30


def grower() -> SigningKey:
    """Who holds the seeds."""
    return SigningKey(b"grower of a bench's state".ljust(32, b"."))


def with_seeds(document: GenesisDocument, outputs: int) -> GenesisDocument:
    """The genesis with a seed for each thousand of `outputs`, after the outputs it has."""
    if not outputs:
        return document
    lock = key_lock(grower().public_key)
    seeds = [GenesisOutput(BANK_A_DVT, SEED_OUTPUTS, lock)] * -(-outputs // SEED_OUTPUTS)
    wallets = tuple(
        structs.replace(entry, locks=tuple(sorted({*entry.locks, lock})))
        if entry.issuer == BANK_A_ISPB
        else entry
        for entry in document.wallets
    )
    return structs.replace(document, wallets=wallets, outputs=(*document.outputs, *seeds))


def grow(plan: NetworkPlan, folder: Path, outputs: int) -> None:
    """Make the outputs in the first validator's home, then copy its chain to all others."""
    setup_logging("warning")
    first, *others = plan.nodes
    environment = {"DREX_STORAGE_HOT_SET_BYTES": str(HOT_SET_BYTES)}
    config = load_config(folder / first.name, environment=environment)
    finalizer = open_chain(config, plan.document, Metrics())
    try:
        trio.run(_make_blocks, finalizer, plan, outputs)
    finally:
        finalizer.store.close()
    for node in others:
        target = load_config(folder / node.name, environment={}).data_path
        shutil.copytree(config.data_path, target, dirs_exist_ok=True)
    say(f"{outputs:,} outputs lie in {len(plan.nodes)} homes")


async def _make_blocks(finalizer: Finalizer, plan: NetworkPlan, outputs: int) -> None:
    keys = [SigningKey(node.validator_seed) for node in plan.nodes if node.validator_seed is not None]
    said, made = time.monotonic(), 0
    for transfers in _blocks(finalizer.chain_id, plan.document):
        await _finalize(finalizer, keys, transfers)
        made += len(transfers) * SEED_OUTPUTS
        if time.monotonic() > said + SAY_EVERY_S:
            said = time.monotonic()
            say(f"{made:,} of {outputs:,} outputs are made")


def _blocks(chain_id: bytes, document: GenesisDocument) -> Iterator[list[Transaction]]:
    key = grower()
    own = key_lock(key.public_key)
    [wallets] = [entry.locks for entry in document.wallets if entry.issuer == BANK_A_ISPB]
    seeds = [place for place, output in enumerate(document.outputs) if output.lock == own]
    waiting: list[Transaction] = []
    for number, place in enumerate(seeds):
        first = number * SEED_OUTPUTS
        outputs = [
            make_output(BANK_A_DVT, 1, wallets[other % len(wallets)])
            for other in range(first, first + SEED_OUTPUTS)
        ]
        body = build_body(Kind.TRANSFER, [OutPoint(chain_id, place)], outputs)
        waiting.append(build_transaction(body, chain_id, [key]))
        if len(waiting) == BLOCK_TRANSFERS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


async def _finalize(
    finalizer: Finalizer, keys: Sequence[SigningKey], transfers: Sequence[Transaction]
) -> None:
    """One block, sealed by a quorum. Raises `RuntimeError` when the ledger refuses a transfer."""
    head = finalizer.head
    proposer = head.validators.keys[(head.height + 1) % head.validators.size]
    timestamp_ms = head.header.timestamp_ms + 100
    context = finalizer.context()
    built = finish(build_block(finalizer.state, finalizer.tree, context, proposer, timestamp_ms, transfers))
    if built.refused or len(built.executed.block.transactions) != len(transfers):
        raise RuntimeError(f"the ledger refused what was to grow the state: {built.refused}")
    header = built.executed.block.header
    name, by_key = block_id(header), {key.public_key: key for key in keys}
    domain = vote_domain(finalizer.chain_id, head.validators.hash)
    sighash = commit_sighash(domain, header.height, 0, name)
    seals = tuple(
        (place, bytes(by_key[head.validators.keys[place]].sign(sighash)))
        for place in range(head.validators.quorum)
    )
    certificate = CommitCertificate(1, header.height, 0, name, seals)
    await finalizer.finalize(FinalizedBlock(built.executed.block, certificate), built.executed)
