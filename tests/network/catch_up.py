"""An observer with an empty home catches up a long chain, checks all of it, and refuses to take transactions.

Run it with `make catch-up`, or `python -m tests.network.catch_up --blocks 2000`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from drexnode import client as rpc
from scripts.load import find_target, make_coins, send_open_loop, sign_transfers
from tests.network.net import Network, network

HEADERS_A_CALL = 250
BLOCKS_PER_S = 20


def grow(net: Network, blocks: int) -> None:
    """Let the chain reach `blocks` by payments that each get a block of their own or nearly so."""
    target = find_target(net.folder)
    asset, coins = make_coins(target, 3 * blocks)
    transfers = sign_transfers(target, asset, coins)
    while (height := net.height("validator-0") or 0) < blocks:
        chunk, transfers = transfers[:250], transfers[250:]
        send_open_loop(target, chunk, BLOCKS_PER_S, slice_ms=1000 // BLOCKS_PER_S)
        print(f"height {height} of {blocks}", flush=True)


def headers(net: Network, name: str, tip: int) -> list[dict[str, Any]]:
    """All headers of a node up to `tip`."""
    found: list[dict[str, Any]] = []
    for first in range(0, tip + 1, HEADERS_A_CALL):
        last = min(tip, first + HEADERS_A_CALL - 1)
        page = net.ask(name, rpc.headers(first, last))
        found += map(dict, page)
    return found


@click.command()
@click.option("--blocks", default=2_000, show_default=True)
def main(blocks: int) -> None:
    """Make a chain of `blocks`, then let an observer catch up from nothing."""
    folder = Path(tempfile.mkdtemp(prefix="drexnode-catch-up-"))
    with network(folder / "net") as net:
        observer = net.devnet.node("observer-0")
        net.devnet.kill(observer)
        shutil.rmtree(observer.home / "data")
        (observer.home / "data").mkdir(mode=0o700)
        grow(net, blocks)
        tip = net.height("validator-0") or 0
        net.devnet.start(observer)
        begin = time.monotonic()
        while net.height("observer-0") is None:
            time.sleep(0.05)
        answered_s = time.monotonic() - begin
        net.await_agreement(tip, timeout_s=300)
        taken_s = time.monotonic() - begin
        assert headers(net, "observer-0", tip) == headers(net, "validator-0", tip)
        refused = net.run("tx", "transfer", "alice", "bob", "1.00", "--rpc", observer.rpc_url)
        assert refused.returncode == 6, refused.stderr
        assert "NODE_OBSERVER" in refused.stderr, refused.stderr
        transactions = sum(header["tx_count"] for header in headers(net, "observer-0", tip))
        print(
            f"{tip} blocks, {transactions} transactions: caught up {taken_s:.1f} s after the start of the "
            f"process (it answered after {answered_s:.1f} s); every id equal; transactions refused:"
        )
        print(refused.stderr.strip())
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
