"""`drexnode repair`: a damaged chain is put aside and fetched again."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, a_home, as_output
from drexnode.cli.output import OK, show_json, show_pairs
from drexnode.config import load_config


@click.command("repair", cls=ExampleCommand, example="drexnode repair --home node")
@a_home
@as_output
def command(home: Path, as_json: bool) -> int:
    """Put a stopped node's damaged chain aside; it is fetched from peers at the next start.

    Votes and sign watermark stay where they are: a validator can't sign twice for it.
    """
    from drexnode.data_care import set_chain_aside

    aside = set_chain_aside(load_config(home))
    facts: dict[str, object] = {"set_aside": str(aside), "next": f"drexnode start --home {home}"}
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))
    return OK
