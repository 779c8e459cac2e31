"""Measure a devnet of real processes: finality, throughput and CPU, with load from a process of its own.

    python -m scripts.bench.network [--validators 4] [--full 1] [--observers 1] [--repeat 3] [--out FILE]

Idle: payments one after another. Open loop: a steady rate, latency from the moment one was due. Backlog:
all payments at once. Every payment is signed beforehand and enters by the validators' RPC. CPU comes from
the operating system's account of each process. JSON on stdout names machine, commit and noise.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from drexnode import client as rpc
from drexnode.devnet import Devnet
from ledger.transaction import Transaction
from scripts.load import (
    Target,
    find_target,
    make_coins,
    send_backlog,
    send_one_by_one,
    send_open_loop,
    sign_transfers,
)

Figures = dict[str, Any]
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Processor seconds a process has used, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def steal_s() -> float:
    """Seconds that the hypervisor gave to others since boot, over all processors."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / _TICKS


def verified(url: str) -> int:
    """Signatures of transactions that a node has verified."""
    with rpc.Client(url) as client:
        text = client.get("/metrics")[1].decode()
    lines = (line for line in text.splitlines() if line.startswith("drex_signatures_verified_total"))
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


class Bench:
    """One devnet and the payments sent through it."""

    def __init__(self, folder: Path) -> None:
        self.devnet = Devnet(folder)
        self.target: Target = find_target(folder)

    def payments(self, count: int) -> list[Transaction]:
        """Signed and independent of each other."""
        asset, coins = make_coins(self.target, count)
        return sign_transfers(self.target, asset, coins)

    def measure(self, send: Callable[[], Figures], transactions: int) -> Figures:
        """Figures of `send`, with the CPU it cost each role and the signatures verified by a validator."""
        pids = {node.name: node.process.pid for node in self.devnet.nodes if node.process is not None}
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        checked, begin, steal = verified(self.target.urls[0]), time.monotonic(), steal_s()
        figures = send()
        time.sleep(1)
        taken_s = time.monotonic() - begin
        used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
        by_role: dict[str, list[float]] = {}
        for name, seconds in used.items():
            by_role.setdefault(name.rsplit("-", 1)[0], []).append(seconds)
        return figures | {
            "cpu_us_a_transaction": {
                role: round(1e6 * statistics.mean(values) / transactions, 1)
                for role, values in by_role.items()
            },
            "signatures_verified_by_validator_0": verified(self.target.urls[0]) - checked,
            "cores_used": round(sum(used.values()) / taken_s, 2),
            "steal_share": round((steal_s() - steal) / taken_s / (os.cpu_count() or 1), 3),
        }


def idle_cpu(bench: Bench, seconds: float = 20.0) -> Figures:
    """Share of a core that each node uses with nothing to do."""
    pids = {node.name: node.process.pid for node in bench.devnet.nodes if node.process is not None}
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: round(100 * (cpu_s(pid) - before[name]) / seconds, 2) for name, pid in pids.items()}


def run(folder: Path, repeat: int, backlog: int, rates: Sequence[int]) -> Figures:
    """All measurements on a running devnet."""
    bench = Bench(folder)
    results: Figures = {}
    _say("idle CPU")
    results["idle_cpu_percent_of_a_core"] = idle_cpu(bench)
    _say("idle finality")
    payments = bench.payments(100)
    results["idle"] = bench.measure(partial(send_one_by_one, bench.target, payments), 100)
    for rate in rates:
        _say(f"open loop, {rate} a second")
        load = bench.payments(10 * rate)
        send = partial(send_open_loop, bench.target, load, rate)
        results[f"open_loop_{rate}"] = bench.measure(send, len(load))
    results["backlog"] = []
    for number in range(repeat):
        _say(f"backlog {number + 1} of {repeat}")
        load = bench.payments(backlog)
        results["backlog"].append(bench.measure(partial(send_backlog, bench.target, load), backlog))
    rates_seen = [run["final_tx_per_s"] for run in results["backlog"]]
    results["backlog_median_tx_per_s"] = statistics.median(rates_seen)
    results["backlog_spread_tx_per_s"] = [min(rates_seen), max(rates_seen)]
    return results


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


@click.command()
@click.option("--validators", default=4, show_default=True)
@click.option("--full", default=1, show_default=True)
@click.option("--observers", default=1, show_default=True)
@click.option("--base-port", default=23_600, show_default=True)
@click.option("--repeat", default=3, show_default=True, help="Runs of the backlog.")
@click.option("--backlog", default=10_000, show_default=True, help="Payments in a backlog.")
@click.option("--rate", "rates", multiple=True, type=int, default=(500, 1000), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(
    validators: int, full: int, observers: int, base_port: int, repeat: int, backlog: int,
    rates: tuple[int, ...], out: Path | None,
) -> None:  # fmt: skip
    """Start a devnet, measure it, stop it."""
    with tempfile.TemporaryDirectory(prefix="drexnode-bench-") as name:
        folder = Path(name) / "net"
        command = [sys.executable, "-m", "drexnode", "devnet", "up", "--detach", "--dir", str(folder),
                   "--validators", str(validators), "--full", str(full), "--observers", str(observers),
                   "--base-port", str(base_port)]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        try:
            figures = run(folder, repeat, backlog, rates)
        finally:
            Devnet(folder).stop()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    report = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
        "commit": commit,
        "network": {"validators": validators, "full": full, "observers": observers},
        "results": figures,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if out is not None:
        out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
