"""Measure how fast an observer catches up: all of it on one core, and on two with a worker, in turn.

    python -m scripts.bench.observe --blocks 1000                    a million transactions
    python -m scripts.bench.observe --blocks 100 --repeat 5 --chain build/bench/chain

The chain is made once, in `--chain` where it stays for the next run. The full node that serves it and the
observer are processes of their own over libp2p; on one core (`taskset`) the observer has processor 0 and the
server the others, with two cores both share them all. Time counts from the observer's first block to its tip;
processor time is that of the observer without its worker.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from drexnode.config import NodeConfig
from drexnode.processes import NodeProcess, start_process, stop_processes
from drexnode.telemetry import setup_logging
from scripts.bench.catch_up import Took, await_height, grow, make_homes
from scripts.bench.report import Figures, emit, say, spread
from tests.drexnode.chain import genesis_document


@dataclass(frozen=True, slots=True)
class Way:
    """Where server and observer run (processors; empty: anywhere), and the observer's worker processes."""

    name: str
    server: str
    observer: str
    workers: int


def ways() -> tuple[Way, Way]:
    """One core, and two."""
    last = (os.cpu_count() or 1) - 1
    return Way("one core", f"{min(1, last)}-{last}", "0", 0), Way("two cores and a worker", "", "", 1)


def one_sync(chain: Path, blocks: int, transactions: int, way: Way) -> Took:
    """An observer with an empty home, from its first block to the tip."""
    with tempfile.TemporaryDirectory(prefix="drexnode-bench-") as text:
        homes = make_homes(Path(text), genesis_document(outputs=max(64, 2 * transactions)))
        homes["full"].data_path.rmdir()
        homes["full"].data_path.symlink_to(chain.absolute())
        variables = {"DREX_POOL_VERIFY_WORKERS": str(way.workers)}
        full = start_process(homes["full"].home, prefix=_pinned(way.server))
        try:
            await_height(homes["full"], full, blocks)
            observer = start_process(
                homes["observer"].home, prefix=_pinned(way.observer), variables=variables
            )
            try:
                return _took(homes["observer"], observer, blocks)
            finally:
                stop_processes([observer])
        finally:
            stop_processes([full])


def _took(config: NodeConfig, observer: NodeProcess, blocks: int) -> Took:
    begun = await_height(config, observer, 1)
    ended = await_height(config, observer, blocks)
    return Took(ended[0] - begun[0], ended[1] - begun[1], ended[2] - begun[2])


def _pinned(cpus: str) -> tuple[str, ...]:
    return ("taskset", "-c", cpus) if cpus else ()


@click.command(epilog="Example: python -m scripts.bench.observe --blocks 1000 --out build/bench/observe.json")
@click.option("--blocks", default=1_000, show_default=True)
@click.option("--transactions", default=1_000, show_default=True, help="In each block.")
@click.option("--repeat", default=5, show_default=True, help="Runs of each.")
@click.option("--chain", type=click.Path(path_type=Path), default="build/bench/chain", show_default=True,
              help="Where the chain lies.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(blocks: int, transactions: int, repeat: int, chain: Path, out: Path | None) -> None:
    """Make the chain, let observers catch up."""
    setup_logging("error")
    chain.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[Took]] = {way.name: [] for way in ways()}
    with contextlib.redirect_stdout(sys.stderr):
        document = genesis_document(outputs=max(64, 2 * transactions))
        trio.run(grow, chain, document, blocks, transactions)
        for number in range(repeat):
            for way in ways():
                say(f"run {number + 1} of {repeat}, {way.name}")
                took = one_sync(chain, blocks, transactions, way)
                say(f"{way.name}: {took.rate(transactions)}")
                runs[way.name].append(took)
    results: Figures = {
        name: {
            "tx_per_s": spread([transactions * took.wall_rate for took in made], 0),
            "observer_cpu_us_a_transaction": spread(
                [1e6 * took.processor_s / took.blocks / transactions for took in made], 1
            ),
        }
        for name, made in runs.items()
    }
    one, two = (float(results[way.name]["tx_per_s"]["median"]) for way in ways())
    results["ratio"] = round(two / one, 2)
    emit({"blocks": blocks, "transactions": transactions, "cores": os.cpu_count()}, results, out)


if __name__ == "__main__":
    main()
