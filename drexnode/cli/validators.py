"""`drexnode validators`: who decides blocks, and votes on that, which validators' nodes cast themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from drexnode import client as rpc
from drexnode.cli.locate import client_of_home, open_client, validator_home, validator_public_key
from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output, at_node
from drexnode.cli.output import note, show_json, show_pairs, show_table
from drexnode.config import load_config

_BY = click.option(
    "--by", required=True, metavar="NODE|HOME", help="The validator that votes: its home; its node must run."
)


@click.group("validators", cls=ExampleGroup, example="drexnode validators list")
def command() -> None:
    """Who decides blocks, and votes on that: list, propose, discard."""


@command.command("list", cls=ExampleCommand, example="drexnode validators list -o json")
@at_node
@as_output
def list_(as_json: bool) -> None:
    """The validators of the next block and the votes that stand."""
    with open_client() as client:
        consensus = client.run(rpc.network_info())["consensus"]
        votes = client.run(rpc.pending_votes())
    if as_json:
        show_json({"validators": consensus["validators"], "votes": votes})
        return
    rows = [
        (item["index"], item["name"] or "-", "yes" if item["connected"] else "NO", item["public_key"])
        for item in consensus["validators"]
    ]
    show_table(("#", "VALIDATOR", "REACHABLE", "KEY"), rows, right=(0,))
    for vote in votes:
        what = "in" if vote["add"] else "out"
        click.echo(f"vote: {vote['subject']} {what}, by {vote['voter']}, until block {vote['expires']}")


@command.command(
    "propose", cls=ExampleCommand, example="drexnode validators propose remove validator-3 --by validator-0"
)
@click.argument("operation", type=click.Choice(["add", "remove"]))
@click.argument("subject")
@_BY
@at_node
@as_output
def propose(operation: str, subject: str, by: str, as_json: bool) -> None:
    """Let a validator's node vote SUBJECT, a public key or a devnet's node, in or out."""
    key = validator_public_key(subject)
    with _node(by) as client:
        found = client.run(rpc.propose_validator_vote(key.hex(), operation == "add"))
    if found["warning"]:
        note(f"warning: {found['warning']}")
    _show(found, as_json)


@command.command(
    "discard", cls=ExampleCommand, example="drexnode validators discard validator-3 --by validator-0"
)
@click.argument("subject")
@_BY
@at_node
@as_output
def discard(subject: str, by: str, as_json: bool) -> None:
    """Let a validator's node take its vote on SUBJECT back."""
    key = validator_public_key(subject)
    with _node(by) as client:
        _show(client.run(rpc.discard_validator_vote(key.hex())), as_json)


def _show(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(dict(found))
    else:
        show_pairs([*found.items(), ("next", f"drexnode tx wait {found['txid']}")])


def _node(text: str) -> rpc.Client:
    return client_of_home(load_config(validator_home(text)))
