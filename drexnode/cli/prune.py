"""`drexnode prune`: the bodies of old blocks are let go."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, a_home, as_output
from drexnode.cli.output import show_json, show_pairs
from drexnode.cli.progress import show_progress
from drexnode.config import load_config
from primitives.errors import StorageFailure


@click.command("prune", cls=ExampleCommand, example="drexnode prune --keep 10000 --home node")
@a_home
@click.option("--keep", type=click.IntRange(1), required=True, metavar="BLOCKS", help="Blocks that stay.")
@as_output
def command(home: Path, keep: int, as_json: bool) -> None:
    """Let the bodies of all but the last blocks go, once; `storage.retention = "pruned:N"` does so always."""
    from drexnode.cli.jobs import run_job
    from drexnode.data_care import prune_chain

    config = load_config(home)
    with show_progress() as progress:
        try:
            lowest = prune_chain(config, keep, progress)
        except StorageFailure as error:
            if error.code != "STORAGE_LOCKED":
                raise
            lowest = run_job(config, "admin_prune", keep, progress)["height"]
    facts: dict[str, object] = {"bodies_from": lowest, "kept_blocks": keep}
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))
