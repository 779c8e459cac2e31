"""`drexnode registry node|candidate|protocol`: permitted peers, candidates, the protocol's version."""

from __future__ import annotations

import base58
import click

from drexnode.cli.options import ExampleGroup
from drexnode.cli.registry_act import registry_act
from drexnode.cli.tx_session import Session
from ledger.payloads import (
    Act,
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


@registry_act(node, "add", "drexnode registry node add 12D3KooW… observer 99990001 --by bcb-registry --wait")
@click.argument("peer_id")
@click.argument("role", type=click.Choice(NODE_ROLES))
@click.argument("ispb")
@click.option("--address", "addresses", multiple=True, metavar="MULTIADDR", help="Where it is reached.")
@click.option("--validator-key", metavar="HEX", help="The key a validator votes with.")
def add(
    session: Session,
    peer_id: str,
    role: str,
    ispb: str,
    addresses: tuple[str, ...],
    validator_key: str | None,
) -> Act:
    """Permit a peer, or change its entry."""
    key = b"" if validator_key is None else _key(validator_key)
    return RegisterNode(_peer_id(peer_id), NodeRole[role.upper()], ispb, addresses, key)


@registry_act(node, "remove", "drexnode registry node remove 12D3KooW… --by bcb-registry")
@click.argument("peer_id")
def remove(session: Session, peer_id: str) -> Act:
    """Forbid a peer whose validator is not in the set."""
    return RemoveNode(_peer_id(peer_id))


@click.group(
    "candidate", cls=ExampleGroup, example="drexnode registry candidate add KEY 99990001 --by bcb-registry"
)
def candidate() -> None:
    """Keys that validators may vote into the set."""


@registry_act(candidate, "add", "drexnode registry candidate add KEY 99990001 --by bcb-registry --wait")
@click.argument("public_key")
@click.argument("ispb")
def candidate_add(session: Session, public_key: str, ispb: str) -> Act:
    """Let validators vote a key in, run by a participant."""
    return RegisterCandidate(_key(public_key), ispb)


@registry_act(candidate, "remove", "drexnode registry candidate remove KEY --by bcb-registry")
@click.argument("public_key")
def candidate_remove(session: Session, public_key: str) -> Act:
    """Take a candidate back that is no validator."""
    return RemoveCandidate(_key(public_key))


@registry_act(None, "protocol", "drexnode registry protocol 2 500000 --by bcb-registry")
@click.argument("version", type=click.IntRange(1))
@click.argument("height", type=click.IntRange(1))
def protocol(session: Session, version: int, height: int) -> Act:
    """Set the protocol version that holds from a height on."""
    return SetProtocol(version, height)
