"""`drexnode registry invite`: register a node and write the one file with which it joins (`drexnode join`).

The ledger permits the peer: a REGISTRY transaction, final before the file is written. The file's signature,
by the same key, tells whoever joins that genesis and peers are the authority's.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import cast

import base58
import click

from drexnode import client as rpc
from drexnode.cli.acting import acting, actor_of
from drexnode.cli.options import ExampleCommand, as_output, at_node
from drexnode.cli.output import CliError, note, show_json, show_pairs
from drexnode.cli.secrets import with_passphrase
from drexnode.cli.tx_session import TIMEOUT_S, Delivery, Session, final_view
from drexnode.join_bundle import JoinRole, bundle_view, check_bundle, make_bundle, write_bundle
from drexnode.wallet_orders import registry_draft
from ledger.genesis import decode_genesis
from ledger.payloads import NodeRole, RegisterNode
from p2p.addresses import parse_address
from p2p.identity import PeerId, parse_peer_id, peer_id_from_seed
from primitives.errors import DecodeError
from primitives.limits import MAX_BUNDLE_DAYS, MAX_BUNDLE_PEERS

DAY_MS = 86_400_000
PEERS_NAMED = 8


@click.command(
    "invite",
    cls=ExampleCommand,
    example="drexnode registry invite observer 99990001 --by bcb-registry --bundle bundle.json",
)
@click.argument("role", type=click.Choice(["full", "observer"]))
@click.argument("ispb")
@click.option(
    "--bundle", required=True, type=click.Path(path_type=Path), metavar="FILE", help="New file to hand over."
)
@click.option("--peer-id", metavar="PEER", help="As drexnode join --prepare showed it; else a key is made.")
@click.option("--address", "addresses", multiple=True, metavar="MULTIADDR", help="Where it will be reached.")
@click.option(
    "--peer", "peers", multiple=True, metavar="MULTIADDR", help="Whom it dials.  [default: registered nodes]"
)
@click.option(
    "--days",
    type=click.IntRange(1, MAX_BUNDLE_DAYS),
    default=7,
    show_default=True,
    help="How long the file is good.",
)
@acting
@click.option("--timeout", type=float, default=TIMEOUT_S, show_default=True, help="Seconds to wait.")
@click.option(
    "--keystore",
    envvar="DREX_KEYSTORE",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Encrypted keys.",
)
@with_passphrase
@at_node
@as_output
def invite(
    role: str,
    ispb: str,
    bundle: Path,
    peer_id: str | None,
    addresses: tuple[str, ...],
    peers: tuple[str, ...],
    days: int,
    by: str,
    actor: str | None,
    timeout: float,
    keystore: Path | None,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Register a full node or observer, and write the file with which it joins: drexnode join FILE.

    Without --peer-id the file holds the new node's identity key: hand it over as you would a password.
    """
    if bundle.exists():
        raise CliError("FILE_EXISTS", f"{bundle} exists and is not overwritten", next="name a new file")
    how = Delivery(True, timeout, None, (), keystore, passphrase_file, passphrase_fd, as_json)
    session = Session(how)
    _, who = actor_of(session, by, actor)
    key = session.signing_key(by)
    seed = b"" if peer_id else secrets.token_bytes(32)
    peer = _peer(peer_id) if peer_id else peer_id_from_seed(seed)
    document = decode_genesis(bytes.fromhex(session.client.run(rpc.genesis())["document"]))
    now_ms = time.time_ns() // 1_000_000
    made = make_bundle(
        document,
        role=cast(JoinRole, role),
        ispb=ispb,
        peer=peer,
        peer_seed=seed,
        peers=_peers(session.client, peers, peer),
        created_ms=now_ms,
        expires_ms=now_ms + days * DAY_MS,
        key=key,
    )
    check_bundle(made, now_ms, authority=[key.public_key])
    act = RegisterNode(base58.b58decode(peer), NodeRole[role.upper()], ispb, addresses, b"")
    draft = registry_draft(session.wallet, who, act)
    started = time.monotonic()
    sent = session.wallet.submit(lambda avoid: draft.signed(key))
    final = final_view(session.client, sent.txid.hex(), timeout, started)
    write_bundle(bundle, made)
    if seed:
        note(f"{bundle} holds the identity key of the new node: hand it over as you would a password")
    joins = f"drexnode join {bundle.name} --home node"
    facts = {"bundle": str(bundle), "txid": sent.txid.hex(), "height": final["height"], **bundle_view(made)}
    if as_json:
        show_json({**facts, "next": joins})
        return
    facts |= {"peers": len(made.body.peers)}
    show_pairs([*facts.items(), ("next", f"there: {joins}, then drexnode start --home node")])


def _peer(text: str) -> PeerId:
    try:
        return parse_peer_id(text)
    except DecodeError as error:
        raise click.UsageError(f"--peer-id {text[:80]!r}: {error.message}") from None


def _peers(client: rpc.Client, named: tuple[str, ...], joining: str) -> tuple[str, ...]:
    """Whom the new node dials: those named, else registered full nodes and validators, those first that the
    node asked is connected to. Raises `CliError` BUNDLE_NO_PEERS."""
    if named:
        for text in named:
            _check(text)
        return named[:MAX_BUNDLE_PEERS]
    own = client.run(rpc.network_info())["node"]["peer_id"]
    nodes = [
        node
        for node in client.run(rpc.nodes())
        if node["role"] != "observer" and node["addresses"] and node["peer_id"] != joining
    ]
    order = {"full": 0, "validator": 1}
    nodes.sort(key=lambda node: (not (node["connected"] or node["peer_id"] == own), order[node["role"]]))
    found = tuple(_with_peer(node["addresses"][0], node["peer_id"]) for node in nodes)
    if not found:
        message = "no registered full node or validator has an address, so nobody can be dialled"
        raise CliError("BUNDLE_NO_PEERS", message, next="name one: --peer /ip4/…/tcp/…/p2p/…")
    return found[:PEERS_NAMED]


def _with_peer(address: str, peer: str) -> str:
    return address if "/p2p/" in address else f"{address}/p2p/{peer}"


def _check(text: str) -> None:
    try:
        address = parse_address(text)
    except DecodeError as error:
        raise click.UsageError(f"--peer {text[:80]!r}: {error.message}") from None
    if address.peer is None:
        raise click.UsageError(f"--peer {text[:80]!r} does not end in /p2p/<peer id>")
