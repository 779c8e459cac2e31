"""`drexnode genesis`: make, check and show a network's first document."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output
from drexnode.cli.output import show_json, show_pairs


@click.group("genesis", cls=ExampleGroup, example="drexnode genesis check genesis.json")
def command() -> None:
    """Make, check and show a genesis document."""


@command.command("new", cls=ExampleCommand, example="drexnode genesis new --validators 7 --out network")
@click.option("--validators", type=click.IntRange(1, 50), default=4, show_default=True)
@click.option("--full", type=click.IntRange(0, 20), default=0, show_default=True)
@click.option("--observers", type=click.IntRange(0, 20), default=0, show_default=True)
@click.option("--name", default="devnet", show_default=True, help="Name of the network.")
@click.option("--base-port", type=click.IntRange(1024, 65000), default=26600, show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="New folder.")
@as_output
def new(
    validators: int, full: int, observers: int, name: str, base_port: int, out: Path, as_json: bool
) -> None:
    """Make a network for trying things out: genesis.json, open demo wallets, a home for each node."""
    from drexnode.devnet import write_network
    from drexnode.network_plan import plan_network
    from ledger.genesis import chain_id_of

    plan = plan_network(
        validators=validators,
        full=full,
        observers=observers,
        base_port=base_port,
        entropy=secrets.token_bytes(32),
        timestamp_ms=time.time_ns() // 1_000_000,
        name=name,
    )
    write_network(plan, out)
    facts = {
        "genesis": str(out / "genesis.json"),
        "chain_id": chain_id_of(plan.document).hex(),
        "validators": validators,
        "homes": [str(out / node.name) for node in plan.nodes],
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs([*list(facts.items())[:3], *(("home", home) for home in facts["homes"])])  # type: ignore[attr-defined]


@command.command("check", cls=ExampleCommand, example="drexnode genesis check genesis.json")
@click.argument("file", type=click.Path(path_type=Path))
@as_output
def check(file: Path, as_json: bool) -> None:
    """Check a genesis document by the ledger's rules and show its chain id."""
    from drexnode.home import read_genesis
    from ledger.genesis import chain_id_of, genesis_validators

    document = read_genesis(file)
    validators = genesis_validators(document)
    facts: dict[str, object] = {
        "ok": True,
        "network": document.name,
        "chain_id": chain_id_of(document).hex(),
        "validators": validators.size,
        "quorum": validators.quorum,
        "may_fail": validators.max_faulty,
        "nodes": len(document.nodes),
        "participants": len(document.participants) + 1,
        "assets": [asset.name for asset in document.assets],
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs([(k, ", ".join(v) if isinstance(v, list) else v) for k, v in facts.items()])


@command.command("show", cls=ExampleCommand, example="drexnode genesis show genesis.json")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--hex", "as_hex", is_flag=True, help="The canonical bytes, whose hash is the chain id.")
def show(file: Path, as_hex: bool) -> None:
    """Print a document as JSON, or its canonical bytes in hex."""
    from drexnode.home import read_genesis
    from ledger.genesis import encode_genesis
    from ledger.genesis_json import document_to_json

    document = read_genesis(file)
    if as_hex:
        click.echo(encode_genesis(document).hex())
    else:
        click.echo(json.dumps(document_to_json(document), ensure_ascii=False, indent=2))
