"""`drexnode join`: a node's home from one bundle, made by `drexnode registry invite`.

Nothing is written before the bundle has held every check (drexnode/join_bundle.py).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, as_output
from drexnode.cli.output import CliError, note, show_json, show_pairs
from drexnode.config import Value

P2P_PORT, RPC_PORT, PORTS_TRIED = 26600, 26650, 40
PEER_KEY = Path("keys") / "peer.key"


@click.command("join", cls=ExampleCommand, example="drexnode join bundle.json --home node")
@click.argument(
    "bundle", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="[BUNDLE]"
)
@click.option(
    "--home", type=click.Path(path_type=Path), default=Path("node"), show_default=True, help="New home."
)
@click.option("--name", help="Name in logs and lists.  [default: the folder's name]")
@click.option(
    "--p2p-port", type=click.IntRange(1, 65535), help="For peers.  [default: 26600 or the next free one]"
)
@click.option(
    "--rpc-port", type=click.IntRange(1, 65535), help="For the RPC.  [default: 26650 or the next free one]"
)
@click.option("--chain-id", metavar="HEX", help="Refuse a bundle of any other chain.")
@click.option(
    "--authority",
    "authorities",
    multiple=True,
    metavar="KEY",
    help="Who may have signed it, where the genesis's registry keys were rotated; repeatable.",
)
@click.option("--prepare", is_flag=True, help="Only make the identity key, and show the peer id to register.")
@as_output
def command(
    bundle: Path | None,
    home: Path,
    name: str | None,
    p2p_port: int | None,
    rpc_port: int | None,
    chain_id: str | None,
    authorities: tuple[str, ...],
    prepare: bool,
    as_json: bool,
) -> None:
    """Make the home of a new full node or observer from the one file its authority handed over.

    `drexnode start` is then all there is to do. A bundle made for a peer id that --prepare showed holds no
    secret; any other holds the node's identity key: delete it once this command has succeeded.
    """
    if prepare == (bundle is not None):
        raise click.UsageError("either BUNDLE or --prepare is expected")
    if bundle is None:
        _show(_prepare(home), as_json)
        return
    from drexnode.home import create_home
    from drexnode.join_bundle import check_bundle, read_bundle, utc

    read = read_bundle(bundle)
    document = check_bundle(
        read,
        time.time_ns() // 1_000_000,
        chain_id=None if chain_id is None else _hex32(chain_id, "--chain-id"),
        authority=[_hex32(text, "--authority") for text in authorities],
    )
    settings: dict[str, Value] = {
        "node.name": name or home.resolve().name,
        "p2p.listen": (f"/ip4/0.0.0.0/tcp/{p2p_port or _free(P2P_PORT)}",),
        "p2p.peers": read.body.peers,
        "rpc.port": rpc_port or _free(RPC_PORT),
    }
    seed = read.body.peer_seed or _own_seed(home, read.body.peer)
    made = create_home(home, document, read.body.role, seed, None, settings, keeps_peer_key=True)
    if read.body.peer_seed:
        note(f"{bundle} holds this node's identity key, which is in its home now: delete the file")
    facts: dict[str, object] = {
        "home": str(home),
        "network": document.name,
        "chain_id": made.chain_id.hex(),
        "role": made.role,
        "peer_id": made.peer_id,
        "signer": read.signer.hex(),
        "expires": utc(read.body.expires_ms),
        "peers": len(read.body.peers),
        "p2p_port": p2p_port or settings["p2p.listen"][0].rsplit("/", 1)[1],  # type: ignore[index]
        "rpc_port": settings["rpc.port"],
        "next": f"drexnode start --home {home}",
    }
    _show(facts, as_json)


def _show(facts: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))


def _prepare(home: Path) -> dict[str, object]:
    """The identity key alone; one that lies there already is kept."""
    import secrets

    from drexnode.keystore import read_plain_key, write_plain_key
    from p2p.identity import peer_id_from_seed

    path = home / PEER_KEY
    if not path.exists():
        write_plain_key(path, secrets.token_bytes(32))
    peer_id = peer_id_from_seed(read_plain_key(path).seed)
    invite = f"drexnode registry invite ROLE ISPB --peer-id {peer_id} --by WALLET --bundle bundle.json"
    return {"home": str(home), "peer_id": peer_id, "next": f"the authority: {invite}"}


def _own_seed(home: Path, peer: str) -> bytes:
    """The key that --prepare made here. Raises `CliError` BUNDLE_OTHER_NODE."""
    from drexnode.keystore import read_plain_key
    from p2p.identity import peer_id_from_seed

    path = home / PEER_KEY
    seed = read_plain_key(path).seed if path.exists() else None
    if seed is None or peer_id_from_seed(seed) != peer:
        message = f"it is for the node {peer}, whose key is not {path}"
        hint = "name the home where drexnode join --prepare showed that peer id with --home DIR"
        raise CliError("BUNDLE_OTHER_NODE", message, peer_id=peer, next=hint)
    return seed


def _free(first: int) -> int:
    """The first port from `first` on that nobody listens on. Raises `CliError` JOIN_NO_PORT."""
    for port in range(first, first + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    last = first + PORTS_TRIED - 1
    raise CliError("JOIN_NO_PORT", f"no port from {first} to {last} is free", next="--p2p-port, --rpc-port")


def _hex32(text: str, option: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise click.UsageError(f"{option}: 64 hex characters are expected")
    return value
