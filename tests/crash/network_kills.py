"""Every node of a devnet killed at one random moment under load, again and again.

    python -m tests.crash.network_kills --rounds 20 --seed 1

After each round: the network decides again; every transaction that a node had reported FINAL is final in the
block it was reported in, on every node; all nodes agree on every block id and state root. At the end the
stores are scanned: hashes, certificates, roots, indexes and supply (circulating = sum of unspent outputs).
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from drexnode import client as rpc
from drexnode.config import load_config
from drexnode.data_care import scan_chain
from scripts.load import find_target, make_coins, sign_transfers
from tests.network.net import Network, network, until

CHUNK = 40
RECENT = 200


class Payments:
    """A load that remembers what was reported FINAL, and where."""

    def __init__(self, net: Network, count: int) -> None:
        target = find_target(net.folder)
        asset, coins = make_coins(target, count)
        self._waiting = sign_transfers(target, asset, coins)
        self._urls = [node.rpc_url for node in net.nodes if node.role != "observer"]
        self.final: dict[str, tuple[int, str]] = {}
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Send through all nodes at once until `stop`."""
        self._stopped.clear()
        self._threads = [threading.Thread(target=self._pay, args=(url,)) for url in self._urls]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the load."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def left(self) -> int:
        """Transfers not sent yet."""
        return len(self._waiting)

    def _pay(self, url: str) -> None:
        try:
            with rpc.Client(url, timeout_s=5) as client:
                while not self._stopped.is_set() and self._waiting:
                    chunk = [self._waiting.pop() for _ in range(min(CHUNK, len(self._waiting)))]
                    client.run(rpc.send_many([transaction.raw for transaction in chunk]))
                    for transaction in chunk[:: CHUNK // 4]:
                        txid = transaction.txid.hex()
                        status = client.run(rpc.wait_transaction(txid, 5_000))
                        if status.status == "FINAL":
                            assert status.height is not None
                            assert status.block_id is not None
                            self.final[txid] = (status.height, status.block_id)
        except (rpc.NodeUnreachable, rpc.RpcRefused):
            return  # killed, as intended


def check_agreement(net: Network, checked: int) -> int:
    """All nodes have the same blocks above `checked`; returns the height up to which they were compared."""
    names = [node.name for node in net.nodes]
    tip = max(until(f"{name} answers", partial(net.height, name), 60) for name in names)
    for height in range(checked + 1, tip + 1):
        net.await_agreement(height, names, timeout_s=60)
    return tip


def check_final(net: Network, final: Mapping[str, tuple[int, str]]) -> None:
    """Every transaction reported FINAL is so, in the same block, on every node."""
    for node in net.nodes:
        with rpc.Client(node.rpc_url, timeout_s=60) as client:
            for txid, (height, block_id) in final.items():
                status = client.run(rpc.transaction_status(txid))
                found = (status.status, status.height, status.block_id)
                assert found == ("FINAL", height, block_id), (node.name, status)


def scan_stores(net: Network) -> None:
    """Full scan of every stopped node's data."""
    for node in net.nodes:
        report = scan_chain(load_config(node.home, environment={}), lambda what, count: None)
        assert report.is_clean, (node.name, report.findings)
        print(f"{node.name}: {report.blocks} blocks, {report.transactions} transactions, all as it should be")


@click.command()
@click.option("--rounds", default=20, show_default=True)
@click.option("--seed", default=0, help="Of the moments of the kills; 0: a new one.")
@click.option("--transactions", default=40_000, show_default=True, help="Transfers in all.")
def main(rounds: int, seed: int, transactions: int) -> None:
    """Kill a devnet's six processes at random moments under load, `rounds` times."""
    seed = seed or random.randrange(1 << 32)
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="drexnode-kills-"))
    print(f"seed {seed}, data in {folder} (kept on failure)", flush=True)
    with network(folder / "net") as net:
        payments, agreed = Payments(net, transactions), 0
        for round in range(1, rounds + 1):
            payments.start()
            time.sleep(chance.uniform(0.2, 3.0))
            for node in net.nodes:
                net.devnet.kill(node)
            payments.stop()
            begin = time.monotonic()
            for node in net.nodes:
                net.devnet.start(node)
            until("validator-0 answers", lambda: net.height("validator-0") is not None, 60)
            net.transfer(timeout_s=60)
            back_s = time.monotonic() - begin
            agreed = check_agreement(net, agreed)
            check_final(net, dict(list(payments.final.items())[-RECENT:]))
            print(
                f"round {round}/{rounds}: a payment final {back_s:.1f} s after the start, one chain up to "
                f"height {agreed}, {len(payments.final)} reported final, {payments.left} transfers left",
                flush=True,
            )
        check_final(net, payments.final)
        net.devnet.stop()
        scan_stores(net)
    shutil.rmtree(folder)
    print(f"{rounds} rounds, nothing final was lost")


if __name__ == "__main__":
    main()
