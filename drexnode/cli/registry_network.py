"""`drexnode registry node|candidate|protocol`: permitted peers, candidates, the protocol's version."""

from __future__ import annotations

import base58
import click

from drexnode.cli.acting import acting
from drexnode.cli.options import ExampleCommand, ExampleGroup
from drexnode.cli.registry_act import act_by
from drexnode.cli.tx_session import Delivery, Session, sending
from ledger.payloads import (
    NodeRole,
    RegisterCandidate,
    RegisterNode,
    RemoveCandidate,
    RemoveNode,
    SetProtocol,
)

NODE_ROLES = [item.name.lower() for item in NodeRole]


def _peer_id(text: str) -> bytes:
    try:
        return bytes(base58.b58decode(text))
    except ValueError:
        raise click.UsageError(f"{text[:80]!r} is no peer id in base58") from None


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise click.UsageError("a public key of 64 hex characters is expected")
    return key


@click.group("node", cls=ExampleGroup, example="drexnode registry node remove 12D3KooW… --by bcb-registry")
def node() -> None:
    """Permitted peers."""


@node.command(
    "add",
    cls=ExampleCommand,
    example="drexnode registry node add 12D3KooW… observer 99990001 --by bcb-registry --wait",
)
@click.argument("peer_id")
@click.argument("role", type=click.Choice(NODE_ROLES))
@click.argument("ispb")
@click.option("--address", "addresses", multiple=True, metavar="MULTIADDR", help="Where it is reached.")
@click.option("--validator-key", metavar="HEX", help="The key a validator votes with.")
@acting
@sending
def add(
    peer_id: str,
    role: str,
    ispb: str,
    addresses: tuple[str, ...],
    validator_key: str | None,
    by: str,
    actor: str | None,
    how: Delivery,
) -> None:
    """Permit a peer, or change its entry."""
    key = b"" if validator_key is None else _key(validator_key)
    act = RegisterNode(_peer_id(peer_id), NodeRole[role.upper()], ispb, addresses, key)
    act_by(Session(how), by, actor, act)


@node.command(
    "remove", cls=ExampleCommand, example="drexnode registry node remove 12D3KooW… --by bcb-registry"
)
@click.argument("peer_id")
@acting
@sending
def remove(peer_id: str, by: str, actor: str | None, how: Delivery) -> None:
    """Forbid a peer whose validator is not in the set."""
    act_by(Session(how), by, actor, RemoveNode(_peer_id(peer_id)))


@click.group(
    "candidate", cls=ExampleGroup, example="drexnode registry candidate add KEY 99990001 --by bcb-registry"
)
def candidate() -> None:
    """Keys that validators may vote into the set."""


@candidate.command(
    "add",
    cls=ExampleCommand,
    example="drexnode registry candidate add KEY 99990001 --by bcb-registry --wait",
)
@click.argument("public_key")
@click.argument("ispb")
@acting
@sending
def candidate_add(public_key: str, ispb: str, by: str, actor: str | None, how: Delivery) -> None:
    """Let validators vote a key in, run by a participant."""
    act_by(Session(how), by, actor, RegisterCandidate(_key(public_key), ispb))


@candidate.command(
    "remove", cls=ExampleCommand, example="drexnode registry candidate remove KEY --by bcb-registry"
)
@click.argument("public_key")
@acting
@sending
def candidate_remove(public_key: str, by: str, actor: str | None, how: Delivery) -> None:
    """Take a candidate back that is no validator."""
    act_by(Session(how), by, actor, RemoveCandidate(_key(public_key)))


@click.command(
    "protocol", cls=ExampleCommand, example="drexnode registry protocol 2 500000 --by bcb-registry"
)
@click.argument("version", type=click.IntRange(1))
@click.argument("height", type=click.IntRange(1))
@acting
@sending
def protocol(version: int, height: int, by: str, actor: str | None, how: Delivery) -> None:
    """Set the protocol version that holds from a height on."""
    act_by(Session(how), by, actor, SetProtocol(version, height))
