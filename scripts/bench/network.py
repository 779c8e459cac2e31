"""Measure networks of real processes: finality, throughput and CPU, with load from a process of its own.

    python -m scripts.bench.network [--validators 4] [--full 1] [--observers 1] [--repeat 3] [--out FILE]
    python -m scripts.bench.network --validators 1 --full 0 --observers 0 --variant 0 --variant 1
    python -m scripts.bench.network --validators 1 --full 0 --observers 0 --one-core

Idle: payments one after another. Open loop: a steady rate, latency from the moment one was due. Backlog:
all payments at once. Every payment is signed beforehand and enters by the validators' RPC. CPU comes from
the operating system's account of each process; beside each backlog the machine's own limit is measured:
signatures a second on all its cores, shared by the validators. Variants (worker processes for signatures)
are networks side by side, loaded in turn. JSON on stdout names machine, commit and noise.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import click

from drexnode import client as rpc
from drexnode.devnet import Devnet
from drexnode.processes import start_process
from ledger.transaction import Transaction
from primitives.keys import SigningKey, verify_many
from scripts.bench.report import Figures, busy_s, cpu_s, report, steal_s
from scripts.load import (
    Target,
    enable_wallets,
    find_target,
    make_coins,
    send_backlog,
    send_one_by_one,
    send_open_loop,
    sign_transfers,
)

PORTS_A_NETWORK = 100
WARM_UP = 1_000  # payments before the first one that counts
VERIFIED = 10_000  # signatures a core verifies to measure the limit


def verified(url: str) -> int:
    """Signatures of transactions that a node has verified."""
    with rpc.Client(url) as client:
        text = client.get("/metrics")[1].decode()
    lines = (line for line in text.splitlines() if line.startswith("drex_signatures_verified_total"))
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def verify_for_a_while(count: int) -> int:
    """Verify `count` signatures; in a process of its own."""
    key = SigningKey(bytes(range(32)))
    message = bytes(32)
    if not all(verify_many([(key.public_key, message, key.sign(message))] * count)):
        raise RuntimeError("a signature does not verify")
    return count


def verification_limit(cores: int) -> float:
    """Signatures a second that `cores` processes verify together, on the machine as busy as it is now."""
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(verify_for_a_while, [10] * cores))
        begin = time.monotonic()
        done = sum(pool.map(verify_for_a_while, [VERIFIED] * cores))
        return done / (time.monotonic() - begin)


@contextmanager
def open_network(
    validators: int, full: int, observers: int, base_port: int, *, wallets: int, workers: int, one_core: bool
) -> Iterator[Bench]:
    """A devnet whose nodes have `workers` worker processes each; `one_core`: all on processor 0."""
    with tempfile.TemporaryDirectory(prefix="drexnode-bench-") as name:
        devnet = Devnet.create(
            Path(name) / "net", validators=validators, full=full, observers=observers, base_port=base_port
        )
        try:
            for node in devnet.nodes:
                variables = {"DREX_POOL_VERIFY_WORKERS": str(workers)}
                prefix = ("taskset", "-c", "0") if one_core else ()
                start_process(node.home, prefix=prefix, variables=variables)
            devnet.wait_started(devnet.nodes, say)
            devnet.wait_mesh()
            yield Bench(devnet, wallets)
        finally:
            devnet.stop()


class Bench:
    """One devnet and the payments sent through it."""

    def __init__(self, devnet: Devnet, wallets: int = 0) -> None:
        self.devnet = devnet
        self.target: Target = find_target(devnet.folder)
        self._holders = enable_wallets(self.target, wallets) if wallets else []

    def payments(self, count: int) -> list[Transaction]:
        """Signed and independent of each other."""
        asset, coins = make_coins(self.target, count, self._holders)
        return sign_transfers(self.target, asset, coins, self._holders)

    def pids(self) -> dict[str, int]:
        """The nodes' processes by name, without their workers (whose time counts when they end)."""
        return {node.name: node.process.pid for node in self.devnet.nodes if node.process is not None}

    def idle_cpu(self, seconds: float) -> Figures:
        """Share of a core that each node uses with nothing to do."""
        pids = self.pids()
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        return {name: round(100 * (cpu_s(pid) - before[name]) / seconds, 2) for name, pid in pids.items()}

    def measure(self, send: Callable[[], Figures], transactions: int) -> Figures:
        """Figures of `send`, with the CPU it cost each role, the signatures each validator verified, and the
        noise: processor time that others on this machine used or the hypervisor took."""
        pids, cores = self.pids(), os.cpu_count() or 1
        before, own = {name: cpu_s(pid) for name, pid in pids.items()}, time.process_time()
        checked = [verified(url) for url in self.target.urls]
        begin, steal, busy = time.monotonic(), steal_s(), busy_s()
        figures = send()
        time.sleep(1)
        taken_s = time.monotonic() - begin
        used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
        others_s = busy_s() - busy - sum(used.values()) - (time.process_time() - own)
        by_role: dict[str, list[float]] = {}
        for name, seconds in used.items():
            by_role.setdefault(name.rsplit("-", 1)[0], []).append(seconds)
        return figures | {
            "cpu_us_a_transaction": {
                role: round(1e6 * statistics.mean(values) / transactions, 1)
                for role, values in by_role.items()
            },
            "signatures_verified_by_each_validator": [
                verified(url) - before for url, before in zip(self.target.urls, checked, strict=True)
            ],
            "cores_used": round(sum(used.values()) / taken_s, 2),
            "noise": {
                "cores_used_by_others": round(max(0.0, others_s) / taken_s, 2),
                "steal_share": round((steal_s() - steal) / taken_s / cores, 3),
            },
        }

    def backlog(self, count: int, cores: int) -> Figures:
        """`count` payments at once, and the share of what the signatures alone would allow at that moment."""
        load = self.payments(count)
        limit = verification_limit(cores) / len(self.target.urls)
        figures = self.measure(partial(send_backlog, self.target, load), count)
        share = float(figures["final_tx_per_s"]) / limit
        return figures | {
            "verification_limit_tx_per_s": round(limit),
            "share_of_the_limit": round(share, 3),
        }


def measure_latency(bench: Bench, payments: int, rates: Sequence[int], seconds: int) -> Figures:
    """Idle CPU, idle finality and open loops."""
    say("idle CPU")
    results: Figures = {"idle_cpu_percent_of_a_core": bench.idle_cpu(2.0 * seconds)}
    say("idle finality")
    load = bench.payments(payments)
    results["idle"] = bench.measure(partial(send_one_by_one, bench.target, load), payments)
    for rate in rates:
        say(f"open loop, {rate} a second")
        load = bench.payments(seconds * rate)
        send = partial(send_open_loop, bench.target, load, rate)
        results[f"open_loop_{rate}"] = bench.measure(send, len(load))
    return results


def measure_backlogs(variants: dict[str, Bench], repeat: int, count: int, cores: int) -> Figures:
    """Each variant in turn, `repeat` times; medians, spreads, and the ratio of each to the first."""
    runs: dict[str, list[Figures]] = {name: [] for name in variants}
    for bench in variants.values():
        send_backlog(bench.target, bench.payments(WARM_UP))
    for number in range(repeat):
        for name, bench in variants.items():
            say(f"backlog {number + 1} of {repeat}, {name}")
            runs[name].append(bench.backlog(count, cores))
    results: Figures = {}
    for name, made in runs.items():
        rates = [float(run["final_tx_per_s"]) for run in made]
        results[name] = {
            "median_tx_per_s": statistics.median(rates),
            "spread_tx_per_s": [min(rates), max(rates)],
            "median_share_of_the_limit": statistics.median(run["share_of_the_limit"] for run in made),
            "runs": made,
        }
    first = next(iter(results.values()))["median_tx_per_s"]
    results["ratio_to_the_first"] = {
        name: round(results[name]["median_tx_per_s"] / first, 2) for name in variants
    }
    return results


def say(what: str) -> None:
    """Progress, beside the JSON."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


@click.command()
@click.option("--validators", default=4, show_default=True)
@click.option("--full", default=1, show_default=True)
@click.option("--observers", default=1, show_default=True)
@click.option("--base-port", default=23_600, show_default=True)
@click.option("--variant", "workers", multiple=True, type=int, default=(0,), show_default=True,
              help="Worker processes for signatures, of each network to compare.")  # fmt: skip
@click.option("--wallets", default=1_000, show_default=True, help="Who pays whom; 0: one pays itself.")
@click.option("--one-core", is_flag=True, help="All nodes on processor 0, the load on the others.")
@click.option("--repeat", default=3, show_default=True, help="Runs of the backlog.")
@click.option("--backlog", default=10_000, show_default=True, help="Payments in a backlog.")
@click.option("--rate", "rates", multiple=True, type=int, default=(500, 1000), show_default=True)
@click.option("--quick", is_flag=True, help="Backlogs alone.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(
    validators: int, full: int, observers: int, base_port: int, workers: tuple[int, ...], wallets: int,
    one_core: bool, repeat: int, backlog: int, rates: tuple[int, ...], quick: bool, out: Path | None,
) -> None:  # fmt: skip
    """Start the networks, measure them, stop them."""
    cores = 1 if one_core else os.cpu_count() or 1
    results: Figures = {}
    with ExitStack() as networks:
        if one_core:
            os.sched_setaffinity(0, set(range(1, os.cpu_count() or 1)) or {0})
        variants = {
            f"workers-{count}": networks.enter_context(
                open_network(validators, full, observers, base_port + place * PORTS_A_NETWORK,
                             wallets=wallets, workers=count, one_core=one_core)
            )
            for place, count in enumerate(workers)
        }  # fmt: skip
        if not quick:
            results |= measure_latency(next(iter(variants.values())), 100, rates, 10)
        results["backlog"] = measure_backlogs(variants, repeat, backlog, cores)
    setting = {
        "validators": validators, "full": full, "observers": observers, "cores": cores, "wallets": wallets,
    }  # fmt: skip
    text = json.dumps(report(setting, results), indent=2)
    print(text)
    if out is not None:
        out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
