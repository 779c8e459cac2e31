"""`drexnode explain-stall`: why no block comes, and what to do about it."""

from __future__ import annotations

import click

from drexnode import client as rpc
from drexnode.cli.locate import open_client
from drexnode.cli.options import ExampleCommand, as_output, at_node
from drexnode.cli.output import FAILURE, OK, TRY_AGAIN, show_json, show_pairs

# Causes that pass without anybody's help.
_PASSES = frozenset({"CHANGING_ROUND", "QUARANTINE", "SYNCING"})


@click.command("explain-stall", cls=ExampleCommand, example="drexnode explain-stall --home validator -o json")
@at_node
@as_output
def command(as_json: bool) -> int:
    """Why no block comes, or why this validator has no part in it, and what to do.

    Ends with 0 when nothing stands in the way, 75 when what does will pass by itself, 1 when somebody must
    act.
    """
    with open_client() as client:
        found = client.run(rpc.explain_stall())
    causes = found["causes"]
    if as_json:
        show_json({"rpc_url": client.url, **found})
    else:
        state = f"height {found['height']}, round {found['round']}, {found['phase']}"
        show_pairs(
            [("deciding", state), ("validators", f"{found['reachable']} reachable, {found['quorum']} needed")]
        )
        if not causes:
            click.echo("nothing stands in the way of blocks")
        for cause in causes:
            click.echo()
            show_pairs(
                [
                    ("cause", f"{cause['code']}: {cause['message']}"),
                    ("next", cause["next"] or "drexnode status"),
                ]
            )
    if not causes:
        return OK
    return TRY_AGAIN if all(cause["code"] in _PASSES for cause in causes) else FAILURE
