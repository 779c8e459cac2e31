"""Measure networks of real processes: final payments a second with a backlog, idle finality, open loops.

    python -m scripts.bench.network --seconds 60                            four validators, five windows
    python -m scripts.bench.network --validators 4 --validators 7 --validators 10 --seconds 20
    python -m scripts.bench.network --load interbank --load one-holder --seconds 20
    python -m scripts.bench.network --validators 1 --variant 0 --variant 1 --quick

The load is this process, apart from the nodes; it signs beforehand and enters by the public JSON-RPC of all
validators (`scripts/bench/window.py` says what counts). Several numbers of validators or loads are measured
one after another, several variants (worker processes for signatures) side by side and in turn. JSON on stdout
names machine, commit and noise; progress goes to stderr.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import click

from scripts.bench.arena import Arena, Shape, open_arena
from scripts.bench.latency import idle, open_loop
from scripts.bench.money import LOADS, LoadName
from scripts.bench.report import Figures, cpu_s, emit, say
from scripts.bench.window import in_turn


def idle_cpu(arena: Arena, seconds: float) -> Figures:
    """Percent of a core that each node uses with nothing to do."""
    pids = arena.pids()
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    time.sleep(seconds)
    return {name: round(100 * (cpu_s(pid) - before[name]) / seconds, 2) for name, pid in pids.items()}


@click.command(epilog="Example: python -m scripts.bench.network --seconds 60 --out build/bench/network.json")
@click.option("--validators", multiple=True, type=int, default=(4,), show_default=True)
@click.option("--full", default=0, show_default=True)
@click.option("--observers", default=0, show_default=True)
@click.option("--variant", "workers", multiple=True, type=int, default=(0,), show_default=True,
              help="Worker processes for signatures, of each network to compare.")  # fmt: skip
@click.option("--load", "loads", multiple=True, type=click.Choice(LOADS), default=("transfers",),
              show_default=True)  # fmt: skip
@click.option("--wallets", default=1_000, show_default=True, help="Who pays whom.")
@click.option("--coins", default=24_000, show_default=True, help="Chains of payments.")
@click.option("--one-core", is_flag=True, help="All nodes on processor 0, the load on the others.")
@click.option("--seconds", default=20.0, show_default=True, help="Of a window.")
@click.option("--repeat", default=5, show_default=True, help="Windows.")
@click.option("--backlog", default=12_000, show_default=True, help="Payments under way at most.")
@click.option("--payments", default=200, show_default=True, help="For the latency of an idle network.")
@click.option("--rate", "rates", multiple=True, type=int, default=(2_000,), show_default=True)
@click.option("--quick", is_flag=True, help="Backlogs alone.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(
    validators: tuple[int, ...], full: int, observers: int, workers: tuple[int, ...],
    loads: tuple[LoadName, ...], wallets: int, coins: int, one_core: bool, seconds: float, repeat: int,
    backlog: int, payments: int, rates: tuple[int, ...], quick: bool, out: Path | None,
) -> None:  # fmt: skip
    """Start the networks, measure them, stop them."""
    results: Figures = {}
    for count, load in product(validators, loads):
        with ExitStack() as networks:
            arenas = {
                f"workers-{number}": networks.enter_context(
                    open_arena(
                        Shape(
                            count, full, observers, number, 0 if one_core else None, (), load, coins, wallets
                        )
                    )
                )
                for number in workers
            }
            say(f"{count} validators, {load}")
            found: Figures = {"backlog": in_turn(arenas, seconds, backlog, repeat)}
            if not quick:
                arena = next(iter(arenas.values()))
                found["idle_cpu_percent_of_a_core"] = idle_cpu(arena, 10)
                found["idle"] = idle(arena, payments)
                for rate in rates:
                    found[f"open_loop_{rate}"] = open_loop(arena, rate, seconds)
            results[f"{count} validators, {load}"] = found
    setting = {
        "validators": validators, "full": full, "observers": observers, "workers": workers, "loads": loads,
        "wallets": wallets, "coins": coins, "one_core": one_core, "seconds": seconds, "backlog": backlog,
    }  # fmt: skip
    emit(setting, results, out)


if __name__ == "__main__":
    main()
