"""Measure one validator: all of it on one core, then on two cores with a worker process for signatures.

    python -m scripts.bench.one [--seconds 20] [--repeat 5] [--out FILE]

The two networks live side by side and are loaded in turn; the one that waits uses next to nothing. On one
core (`taskset`, processor 0) the load has the others; with two the load shares them, as it does everywhere.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from scripts.bench.arena import Shape, open_arena
from scripts.bench.report import emit
from scripts.bench.window import in_turn


@click.command(epilog="Example: python -m scripts.bench.one --seconds 20 --out build/bench/one.json")
@click.option("--seconds", default=20.0, show_default=True, help="Of a window.")
@click.option("--repeat", default=5, show_default=True, help="Windows of each.")
@click.option("--backlog", default=12_000, show_default=True, help="Payments under way at most.")
@click.option("--coins", default=24_000, show_default=True, help="Chains of payments.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(seconds: float, repeat: int, backlog: int, coins: int, out: Path | None) -> None:
    """Measure both in turn."""
    with (
        open_arena(Shape(1, cpu=0, coins=coins)) as single,
        open_arena(Shape(1, workers=1, coins=coins)) as double,
    ):
        arenas = {"one core": single, "two cores and a worker": double}
        results = in_turn(arenas, seconds, backlog, repeat)
    emit({"seconds": seconds, "backlog": backlog, "coins": coins, "cores": os.cpu_count()}, results, out)


if __name__ == "__main__":
    main()
