"""`drexnode validators`: who decides blocks, and votes on that, which validators' nodes cast themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from drexnode import client as rpc
from drexnode.cli.locate import client_of_home, devnet_folder, open_client
from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output, at_node
from drexnode.cli.output import CliError, note, show_json, show_pairs, show_table
from drexnode.config import CONFIG_FILE, load_config
from drexnode.keystore import public_key_in

KEY_CHARS = 64
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
    key = _subject(subject)
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
    key = _subject(subject)
    with _node(by) as client:
        _show(client.run(rpc.discard_validator_vote(key.hex())), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        show_pairs([*found.items(), ("next", f"drexnode tx wait {found['txid']}")])


def _home(text: str) -> Path:
    """A home, or a node of the devnet. Raises `CliError` WALLET_UNKNOWN."""
    folder = devnet_folder()
    homes = [Path(text)] if folder is None else [folder / text, Path(text)]
    for home in homes:
        if (home / CONFIG_FILE).is_file():
            return home
    message = f"{text[:90]!r} is neither a node of this devnet nor the home of one"
    raise CliError("WALLET_UNKNOWN", message)


def _node(text: str) -> rpc.Client:
    return client_of_home(load_config(_home(text)))


def _subject(text: str) -> bytes:
    if len(text) == KEY_CHARS:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    return public_key_in(load_config(_home(text)).validator_key_path)
