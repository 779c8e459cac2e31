"""`drexnode verify`: the data of a stopped node, scanned whole."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, a_home, as_output
from drexnode.cli.output import CORRUPT, OK, note, show_json, show_pairs
from drexnode.cli.progress import show_progress
from drexnode.config import load_config


@click.command("verify", cls=ExampleCommand, example="drexnode verify --home node")
@a_home
@as_output
def command(home: Path, as_json: bool) -> int:
    """Scan a stopped node's data: hashes, certificates, state root, supply, indexes. Exit 7 for damage."""
    from drexnode.data_care import scan_chain

    with show_progress() as progress:
        report = scan_chain(load_config(home), lambda what, count: progress(what, count, 0))
    facts: dict[str, object] = {
        "ok": report.is_clean,
        "blocks": report.blocks,
        "transactions": report.transactions,
        "state_entries": report.entries,
        "findings": report.findings,
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items())[:4])
        for finding in report.findings:
            note(f"damage: {finding}")
        if not report.is_clean:
            note(f"next: drexnode repair --home {home}")
    return OK if report.is_clean else CORRUPT
