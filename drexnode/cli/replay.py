"""`drexnode replay`: every block of a stopped node executed again."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, a_home, as_output
from drexnode.cli.output import show_json, show_pairs
from drexnode.cli.progress import show_progress
from drexnode.config import load_config


@click.command("replay", cls=ExampleCommand, example="drexnode replay --home node")
@a_home
@click.option("--to", type=click.IntRange(0), metavar="HEIGHT", help="Stop after this height.")
@click.option(
    "--skip-signatures",
    is_flag=True,
    help="Trust the quorum that decided with the transactions' signatures; certificates are checked.",
)
@click.option(
    "--scratch", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
    help="Folder for the chain that is made again. [default: the system's]",
)  # fmt: skip
@as_output
def command(home: Path, to: int | None, skip_signatures: bool, scratch: Path | None, as_json: bool) -> None:
    """Execute all blocks of a stopped node again from genesis; exit 7 for a root that differs."""
    from drexnode.replay import replay_chain

    with show_progress() as progress:
        found = replay_chain(
            load_config(home), progress, to=to, signatures=not skip_signatures, scratch=scratch
        )
    facts: dict[str, object] = {
        "ok": True,
        "height": found.height,
        "transactions": found.transactions,
        "state_root": found.state_root.hex(),
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))
