"""`drexnode init`: make a node's home."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, as_output
from drexnode.cli.output import show_json, show_pairs
from drexnode.cli.secrets import passphrase, with_passphrase
from drexnode.config import ROLES, Value


@click.command(
    "init", cls=ExampleCommand, example="drexnode init --home node --genesis genesis.json --role observer"
)
@click.option("--home", required=True, type=click.Path(path_type=Path), metavar="DIR", help="New home.")
@click.option(
    "--genesis", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The network's genesis."
)
@click.option("--role", type=click.Choice(ROLES), default="observer", show_default=True, help="What it does.")
@click.option("--name", help="Name in logs and lists.  [default: the folder's name]")
@click.option("--p2p-port", type=click.IntRange(1, 65535), default=26600, show_default=True)
@click.option("--rpc-port", type=click.IntRange(1, 65535), default=26650, show_default=True)
@click.option("--peer", "peers", multiple=True, metavar="ADDRESS", help="/ip4/…/tcp/…/p2p/…; repeatable.")
@click.option("--validator-key", type=click.Path(path_type=Path), metavar="FILE", help="Seed to use; copied.")
@click.option("--peer-key", type=click.Path(path_type=Path), metavar="FILE", help="Seed to use; copied.")
@click.option("--encrypt", is_flag=True, help="Encrypt the validator's key with a passphrase.")
@click.option("--await-key", is_flag=True, help="Validator without a key: one will move here.")
@with_passphrase
@as_output
def command(
    home: Path,
    genesis: Path,
    role: str,
    name: str | None,
    p2p_port: int,
    rpc_port: int,
    peers: tuple[str, ...],
    validator_key: Path | None,
    peer_key: Path | None,
    encrypt: bool,
    await_key: bool,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Make a node's home: configuration, genesis, keys. Nothing that exists is overwritten.

    A node is admitted to the network by its peer id: hand the printed one to the registry.
    """
    from drexnode.home import create_home, read_genesis
    from drexnode.keystore import read_plain_key

    if validator_key is not None and role != "validator":
        raise click.UsageError("--validator-key is for --role validator")
    if (encrypt or await_key) and role != "validator":
        raise click.UsageError("--encrypt and --await-key are for --role validator")
    if await_key and (encrypt or validator_key is not None):
        raise click.UsageError("--await-key leaves the key out: it comes with signer import-state")
    secret = passphrase(passphrase_file, passphrase_fd, confirm=True) if encrypt else None
    validator_seed = None
    if role == "validator" and not await_key:
        validator_seed = read_plain_key(validator_key).seed if validator_key else secrets.token_bytes(32)
    peer_seed = read_plain_key(peer_key).seed if peer_key else secrets.token_bytes(32)
    settings: dict[str, Value] = {
        "node.name": name or home.resolve().name,
        "p2p.listen": (f"/ip4/0.0.0.0/tcp/{p2p_port}",),
        "p2p.peers": peers,
        "rpc.port": rpc_port,
    }
    made = create_home(
        home, read_genesis(genesis), role, peer_seed, validator_seed, settings,
        passphrase=secret, awaits_key=await_key,
    )  # fmt: skip
    facts = {
        "home": str(made.home),
        "role": made.role,
        "chain_id": made.chain_id.hex(),
        "peer_id": made.peer_id,
        "validator_key": None if made.validator_key is None else made.validator_key.hex(),
    }
    if as_json:
        show_json(facts)
    else:
        start = f"drexnode start --home {home}"
        receive = f"on the old machine: drexnode signer export-state FILE --home OLD --heir {made.peer_id}"
        show_pairs([*facts.items(), ("next", receive if await_key else start)])
