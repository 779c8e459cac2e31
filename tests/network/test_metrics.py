"""Every metric moves: a network works, refuses, loses a validator and gets it back, and each figure shows it.

`supply_invariant_ok` aside, which moves only when money was lost. What no network should ever show is made to
move by its own test: `equivocations_total` (tests/drexnode/test_evidence_exchange.py), `sign_refused_total`
(tests/drexnode/test_durable_work.py).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from drexnode import client as rpc
from drexnode.metrics import Metrics
from tests.network.net import Network, network, until

pytestmark = [pytest.mark.network, pytest.mark.slow]
NEVER_HERE = {"drex_supply_invariant_ok", "drex_equivocations_total", "drex_sign_refused_total"}
CONSTANT = {"drex_block_period_seconds"}  # of the genesis
Reading = dict[tuple[str, str, str], float]


def read(net: Network) -> Reading:
    """(node, sample, labels) -> value, of every node that answers; buckets are left out."""
    found: Reading = {}
    for node in net.nodes:
        try:
            metrics = net.ask(node.name, rpc.metrics())
        except rpc.NodeUnreachable:
            continue
        for name, samples in metrics.items():
            if not name.endswith("_bucket"):
                for sample in samples:
                    found[node.name, name, str(sorted(sample["labels"].items()))] = float(sample["value"])
    return found


def moved(readings: list[Reading]) -> set[str]:
    """Names of samples that had two values on one node, or came into being."""
    names = set()
    for before, after in pairwise(readings):
        nodes = {node for node, _, _ in before}
        names |= {key[1] for key, value in after.items() if before.get(key) != value and key[0] in nodes}
    return names


def families() -> set[str]:
    """One sample name of each metric."""
    endings = {"counter": "_total", "histogram": "_count"}
    return {family.name + endings.get(family.type, "") for family in Metrics().registry.collect()}


def test_every_metric_moves_while_a_network_works_and_is_hurt(tmp_path: Path) -> None:
    with network(tmp_path / "net") as net:
        readings = [read(net)]

        def seen(name: str) -> bool:
            readings.append(read(net))
            return name in moved(readings)

        for _ in range(3):
            net.transfer()
        [answer] = net.ask("full-0", rpc.send_many([b"\x00"]))
        assert answer.code is not None
        assert seen("drex_tx_rejected_total")
        net.run("devnet", "kill", "validator-3")
        until("a round was left", lambda: seen("drex_qbft_round_changes_total"), 90)
        until("a dial failed", lambda: seen("drex_dial_failures_total"), 60)
        net.run("devnet", "kill", "validator-2")
        assert net.run("tx", "transfer", "alice", "bob", "1.00").returncode == 0
        waiting = ("drex_mempool_bytes", "drex_mempool_txs", "drex_qbft_round")
        until("it waits for a quorum, in a later round", lambda: all(map(seen, waiting)), 60)
        for name in ("validator-2", "validator-3"):
            net.run("devnet", "start", name)

        def all_moved() -> bool:
            readings.append(read(net))
            return not families() - moved(readings) - NEVER_HERE - CONSTANT

        until(f"all but {families() - moved(readings) - NEVER_HERE - CONSTANT} moved", all_moved, 60)
        periods = {value for (_, name, _), value in readings[-1].items() if name in CONSTANT}
        assert periods == {5.0}
