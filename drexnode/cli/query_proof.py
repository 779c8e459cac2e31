"""`drexnode query proof`: a file that proves what the tip's state says, for `drexnode verify-proof`."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode import client as rpc
from drexnode.cli.locate import open_client
from drexnode.cli.options import ExampleCommand, as_output, at_node
from drexnode.cli.output import CliError, show_json, show_pairs


@click.command("proof", cls=ExampleCommand, example="drexnode query proof address alice --out alice.proof")
@click.argument("subject", type=click.Choice(["output", "address", "supply"]))
@click.argument("which", metavar="TXID:INDEX|ACCOUNT|ASSET")
@click.option("--address", "account", metavar="ACCOUNT", help="Where an output lies; else the node looks.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A new file.")
@at_node
@as_output
def command(subject: str, which: str, account: str | None, out: Path, as_json: bool) -> None:
    """Write a proof of an output, of all outputs of a wallet (name or address), or of a supply."""
    from drexnode.cli.query import address_of

    with open_client() as client:
        of = {subject: address_of(client, which) if subject == "address" else which}
        if account is not None and subject == "output":
            of["address"] = address_of(client, account)
        answer = client.run(rpc.proof(**of))
    try:
        with out.open("xb") as file:
            file.write(bytes.fromhex(answer.proof))
    except FileExistsError:
        raise CliError("FILE_EXISTS", f"{out} exists and is not overwritten", path=str(out)) from None
    except OSError as error:
        raise CliError("FILE_UNWRITABLE", f"{out}: {error.strerror}", path=str(out)) from None
    facts = {
        "file": str(out),
        "size_bytes": answer.size_bytes,
        "height": answer.height,
        "block_id": answer.block_id,
        "state_root": answer.state_root,
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))
