"""Replay a long mixed chain from genesis in two fresh processes: `python -m tests.ledger.million`.

One process makes the chain and writes its blocks to a file; two more, each with another `PYTHONHASHSEED`,
read the file and execute every block on the genesis state, which compares each state root with the header's.
All three must end with one digest over block ids, state roots, pages of the tree and entries of the state.
Signatures are verified too with `--signatures`; the state does not depend on them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from ledger.block import Block, decode_block, encode_block
from ledger.checks import check_stateless, verify_signatures
from ledger.payloads import Kind
from primitives.block import block_id
from primitives.keys import verify_many
from tests.ledger.chain import Chain
from tests.ledger.mixed_chain import MixedChain

SEED = 7
A_BLOCK = 1_000
REPORT_EVERY = 50_000


def make(path: Path, transactions: int) -> dict[str, Any]:
    """Write the chain's blocks to `path`; returns its digest and how many of each kind it holds."""
    chain, kinds, trace = MixedChain(SEED), Counter[str](), sha256()
    with path.open("wb") as out:
        for block in chain.grow(transactions, A_BLOCK):
            data = encode_block(block)
            out.write(len(data).to_bytes(4, "big") + data)
            kinds.update(Kind(transaction.body.kind).name for transaction in block.transactions)
            _note(trace, chain, block)
            _report("made", sum(kinds.values()))
    return {**_end(trace, chain), "kinds": dict(sorted(kinds.items()))}


def replay(path: Path, signatures: bool) -> dict[str, Any]:
    """Execute every block of `path` from genesis. Raises `InvalidBlock` at the first that differs."""
    chain, done, trace = Chain(), 0, sha256()
    for data in _blocks(path):
        block = decode_block(data, chain.chain_id)
        for transaction in block.transactions:
            check_stateless(transaction)
            if signatures:
                verify_signatures(transaction, verify_many)
        chain.commit(chain.execute(block))
        chain.blocks.clear()
        done += len(block.transactions)
        _note(trace, chain, block)
        _report("replayed", done)
    return _end(trace, chain)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while head := source.read(4):
            yield source.read(int.from_bytes(head, "big"))


def _note(trace: Any, chain: Chain, block: Block) -> None:
    trace.update(block_id(block.header) + chain.tree.root)


def _end(trace: Any, chain: Chain) -> dict[str, Any]:
    for store in (chain.state, chain.pages):
        for key, value in sorted(store.items()):
            trace.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
    return {
        "height": chain.height,
        "state_root": chain.tree.root.hex(),
        "digest": trace.hexdigest(),
        "entries": len(chain.state),
    }


def _report(what: str, count: int) -> None:
    if count % REPORT_EVERY == 0:
        print(f"  {what} {count:,}", file=sys.stderr, flush=True)


def run_fresh(*arguments: str, hash_seed: int) -> dict[str, Any]:
    """This module in a new process with another order of sets; its answer and its seconds."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.ledger.million", *arguments],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return {**answer, "hash_seed": hash_seed, "seconds": round(time.monotonic() - begin, 1)}


@click.command(help=__doc__)
@click.option("--transactions", default=1_000_000, show_default=True)
@click.option("--signatures", is_flag=True, help="Verify every signature while replaying.")
@click.option("--step", type=click.Choice(["all", "make", "replay"]), default="all", hidden=True)
@click.option("--file", "path", type=click.Path(path_type=Path), hidden=True)
def main(transactions: int, signatures: bool, step: str, path: Path | None) -> None:
    if step != "all":
        assert path is not None
        click.echo(json.dumps(make(path, transactions) if step == "make" else replay(path, signatures)))
        return
    with tempfile.TemporaryDirectory(prefix="drexnode-million-") as folder:
        blocks = str(Path(folder) / "blocks")
        click.echo(f"making {transactions:,} transactions", err=True)
        made = run_fresh("--step", "make", "--file", blocks, "--transactions", str(transactions), hash_seed=0)
        click.echo(json.dumps({"made": made}, indent=1))
        given = ["--step", "replay", "--file", blocks, *["--signatures"] * signatures]
        replays = [run_fresh(*given, hash_seed=hash_seed) for hash_seed in (1, 4242)]
    click.echo(json.dumps({"replays": replays}, indent=1))
    digests = {answer["digest"] for answer in (made, *replays)}
    click.echo("the same roots" if len(digests) == 1 else "THE ROOTS DIFFER")
    raise SystemExit(len(digests) - 1)


if __name__ == "__main__":
    main()
