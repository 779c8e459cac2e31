"""`drexnode peers`: who is connected, who is kept out and until when, and how far the way to a peer goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drexnode import client as rpc
from drexnode.cli.locate import open_client
from drexnode.cli.options import NODE_KEY, ExampleCommand, ExampleGroup, as_output, at_node
from drexnode.cli.output import FAILURE, OK, note, show_json, show_pairs, show_table

if TYPE_CHECKING:
    from drexnode.rpc.peering_api import TestStep

MINUTE_MS = 60_000
MAX_BAN_MINUTES = 365 * 24 * 60
TEST_TIMEOUT_S = 60.0
_EXAMPLE = "/ip4/10.0.0.1/tcp/26600/p2p/12D3KooW…"
_ADVICE = {
    "name": "check the host's name, and the resolver of this machine",
    "tcp": "is the node running, on that port, and does the firewall between let it through?",
    "noise": "something else listens on that port: compare it with the node's p2p.listen",
    "identity": "another node answers there: compare its peer id: drexnode peers list --all",
    "permission": "drexnode registry node add PEER ROLE ISPB --by WALLET, or drexnode peers unban PEER there",
    "chain": "its genesis is another one: compare drexnode genesis show on both machines",
}


@click.group("peers", cls=ExampleGroup, example="drexnode peers list")
def command() -> None:
    """Peers of a node: list, test, add, remove, bans, unban."""


@command.command("list", cls=ExampleCommand, example="drexnode peers list --all -o json")
@click.option("--all", "everybody", is_flag=True, help="Also registered peers that are not connected.")
@at_node
@as_output
def list_(everybody: bool, as_json: bool) -> None:
    """Connected peers: role, height, round trip, who dialled, since when."""
    with open_client() as client:
        peers = client.run(rpc.peers())
        absent = [node for node in client.run(rpc.nodes()) if not node["connected"]] if everybody else []
        own = client.run(rpc.network_info())["node"]["peer_id"] if everybody else None
    absent = [node for node in absent if node["peer_id"] != own]
    if as_json:
        show_json({"peers": peers, "absent": absent} if everybody else {"peers": peers})
        return
    now_ms = time.time_ns() // 1_000_000
    rows: list[tuple[object, ...]] = [
        (
            peer["name"] or "-",
            peer["role"],
            peer["height"],
            None if peer["rtt_ms"] is None else f"{peer['rtt_ms']} ms",
            peer["direction"],
            _span(now_ms - peer["connected_since_ms"]) if peer["connected_since_ms"] else None,
            peer["address"],
            peer["peer_id"],
        )
        for peer in peers
    ]
    rows += [
        ("-", node["role"], None, None, "ABSENT", None, _first(node["addresses"]), node["peer_id"])
        for node in absent
    ]
    heads = ("NAME", "ROLE", "HEIGHT", "RTT", "DIALLED", "SINCE", "ADDRESS", "PEER")
    show_table(heads, rows, right=(2, 3, 5))


@command.command("test", cls=ExampleCommand, example=f"drexnode peers test {_EXAMPLE} --home node")
@click.argument("address")
@at_node
@as_output
def test(address: str, as_json: bool) -> int:
    """Walk the way to a peer: name, TCP, Noise, identity, permission, chain, height. Exit 1 if it ends early.

    A running node walks itself. With --home of a node that does not run, this command does so with that
    node's key. A peer that is connected already is not dialled again.
    """
    steps = _walk(address)
    failed = next((step for step in steps if step["state"] == "failed"), None)
    if as_json:
        show_json({"address": address, "reached": failed is None, "steps": steps})
    else:
        rows = [(step["name"], step["state"], f"{step['elapsed_ms']} ms", step["detail"]) for step in steps]
        show_table(("STEP", "STATE", "TOOK", "WHAT"), rows, right=(2,))
    if failed is None:
        return OK
    note(f"the way ends at {failed['name']}: {failed['detail']}")
    if failed["name"] in _ADVICE:
        note(f"next: {_ADVICE[failed['name']]}")
    return FAILURE


@command.command("add", cls=ExampleCommand, example=f"drexnode peers add {_EXAMPLE} --home node")
@click.argument("address")
@at_node
@as_output
def add(address: str, as_json: bool) -> None:
    """Keep a connection to a registered peer until the node stops; for ever: p2p.peers in drexnode.toml."""
    with open_client() as client:
        is_new = client.run(rpc.add_peer(address))
    _show({"address": address, "added": is_new}, f"drexnode peers test {address}", as_json)


@command.command("remove", cls=ExampleCommand, example="drexnode peers remove 12D3KooW… --ban-minutes 60")
@click.argument("peer_id")
@click.option(
    "--ban-minutes",
    type=click.IntRange(1, MAX_BAN_MINUTES),
    metavar="N",
    help="Also keep it out for so long; else it may dial again.",
)
@at_node
@as_output
def remove(peer_id: str, ban_minutes: int | None, as_json: bool) -> None:
    """Disconnect a peer and dial it no more until the node starts again."""
    with open_client() as client:
        was_known = client.run(rpc.remove_peer(peer_id, (ban_minutes or 0) * MINUTE_MS))
    following = f"drexnode peers unban {peer_id}" if ban_minutes else "drexnode peers list"
    _show({"peer_id": peer_id, "removed": was_known, "banned_minutes": ban_minutes}, following, as_json)


@command.command("bans", cls=ExampleCommand, example="drexnode peers bans")
@at_node
@as_output
def bans(as_json: bool) -> None:
    """Peers that the node keeps out for a while, for how long still, and why."""
    with open_client() as client:
        found = client.run(rpc.bans())
    if as_json:
        show_json({"bans": found})
        return
    now_ms = time.time_ns() // 1_000_000
    rows = [(ban["peer_id"], _span(max(0, ban["until_ms"] - now_ms)), ban["reason"]) for ban in found]
    show_table(("PEER", "STILL", "WHY"), rows, right=(1,))


@command.command("unban", cls=ExampleCommand, example="drexnode peers unban 12D3KooW…")
@click.argument("peer_id")
@at_node
@as_output
def unban(peer_id: str, as_json: bool) -> None:
    """Lift a ban before its time."""
    with open_client() as client:
        lifted = client.run(rpc.unban(peer_id))
    _show({"peer_id": peer_id, "lifted": lifted}, "drexnode peers list", as_json)


def _show(facts: dict[str, Any], following: str, as_json: bool) -> None:
    if as_json:
        show_json(facts)
    else:
        show_pairs([*facts.items(), ("next", following)])


def _walk(address: str) -> list[dict[str, Any]]:
    """By the running node; by this process for a home whose node does not run."""
    given = click.get_current_context().meta.get(NODE_KEY, {})
    home: Path | None = given.get("home")
    try:
        with open_client() as client:
            return [dict(step) for step in client.run(rpc.walk_to_peer(address, TEST_TIMEOUT_S))]
    except rpc.NodeUnreachable:
        if home is None or given.get("rpc"):
            raise
    note("the node does not run: this command dials with its key")
    import dataclasses

    return [dataclasses.asdict(step) for step in _walk_from(home, address)]


def _walk_from(home: Path, address: str) -> list[TestStep]:
    import trio

    from drexnode.config import load_config
    from drexnode.peering import walk_as_stopped_node

    return trio.run(walk_as_stopped_node, load_config(home), address)


def _first(addresses: list[str]) -> str | None:
    return addresses[0] if addresses else None


def _span(milliseconds: int) -> str:
    """Minutes and seconds, or hours and minutes."""
    seconds = milliseconds // 1000
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds % 60:02} s"
