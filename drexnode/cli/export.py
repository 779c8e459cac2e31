"""`drexnode export`: a stopped node's chain as JSON lines or Parquet."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, a_home
from drexnode.cli.output import note
from drexnode.cli.progress import show_progress
from drexnode.config import load_config

TABLES = ("blocks", "transactions", "outputs", "inputs", "unspent", "balances", "supply")


@click.command(
    "export", cls=ExampleCommand, example="drexnode export transactions --home node --out tx.jsonl"
)
@click.argument("table", type=click.Choice(TABLES))
@a_home
@click.option("--from", "first", type=click.IntRange(0), metavar="HEIGHT", help="First block.")
@click.option("--to", "last", type=click.IntRange(0), metavar="HEIGHT", help="Last block. [default: the tip]")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="[default: stdout]")
@click.option("--format", "form", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True)
@click.pass_context
def command(
    ctx: click.Context,
    table: str,
    home: Path,
    first: int | None,
    last: int | None,
    out: Path | None,
    form: str,
) -> None:
    """Write a table of a stopped node's chain: blocks, transactions, outputs, balances, … Amounts are in the
    smallest unit."""
    from drexnode.export import export_table, json_lines, parquet, whole_file
    from drexnode.stopped import open_stopped

    if form == "parquet" and out is None:
        raise click.UsageError("--format parquet needs --out FILE", ctx)
    with open_stopped(load_config(home)) as chain, show_progress() as progress:
        low = max(first or 0, chain.queries.pruned_below if table != "blocks" else 0)
        if first is not None and low > first:
            note(f"bodies are kept from block {low} on: the table begins there")
        high = chain.tip.height if last is None else min(last, chain.tip.height)
        if out is None:
            with json_lines(table, sys.stdout) as write:
                count = export_table(chain, table, low, high, write, progress)
        else:
            with whole_file(out) as temporary:
                if form == "parquet":
                    with parquet(table, temporary) as write:
                        count = export_table(chain, table, low, high, write, progress)
                else:
                    with temporary.open("w", encoding="utf-8") as file, json_lines(table, file) as write:
                        count = export_table(chain, table, low, high, write, progress)
        note(f"{count} rows of {table}, as of block {chain.tip.height}")
