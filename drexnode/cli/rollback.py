"""`drexnode rollback`: a stopped node's last blocks are dropped, to be fetched again."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, a_home, as_output
from drexnode.cli.output import show_json, show_pairs
from drexnode.cli.progress import show_progress
from drexnode.config import load_config


@click.command("rollback", cls=ExampleCommand, example="drexnode rollback --to 1200 --home node")
@a_home
@click.option("--to", type=click.IntRange(0), required=True, metavar="HEIGHT", help="The last block to stay.")
@click.option("--patience", type=click.FloatRange(1), default=20.0, show_default=True, metavar="SECONDS")
@as_output
def command(home: Path, to: int, patience: float, as_json: bool) -> None:
    """Drop a stopped node's blocks above a height, if a peer serves the next one. What a validator has signed
    stays remembered."""
    from drexnode.rollback import roll_back
    from drexnode.telemetry import setup_logging

    config = load_config(home)
    setup_logging("error", config.log.format, node=config.node.name)
    with show_progress() as progress:
        found = roll_back(config, to, progress, patience_s=patience)
    facts: dict[str, object] = {
        "height": found.height,
        "block_id": found.block_id.hex(),
        "dropped": found.dropped,
        "set_aside": str(found.aside),
        "served_by": found.served_by,
        "next": f"drexnode start --home {home}",
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))
