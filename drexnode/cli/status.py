"""`drexnode status`: one node's view of the network, and why no block comes if none does."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import click

from drexnode import client as rpc
from drexnode.cli.locate import open_client
from drexnode.cli.options import ExampleCommand, as_output, at_node
from drexnode.cli.output import NOT_SYNCED, OK, show_json, show_pairs, show_table


@click.command("status", cls=ExampleCommand, example="drexnode status --rpc http://127.0.0.1:26650")
@at_node
@as_output
def command(as_json: bool) -> int:
    """Where the network stands, and why it stands still if it does.

    Ends with 4 while the node is still catching up.
    """
    with open_client() as client:
        info = client.run(rpc.network_info())
    if as_json:
        show_json({"rpc_url": client.url, **info})
    else:
        show_pairs(_facts(client.url, info))
        _show_validators(info["consensus"])
    return NOT_SYNCED if info["sync"]["syncing"] else OK


def _facts(url: str, info: Mapping[str, Any]) -> list[tuple[str, object]]:
    node, tip, consensus, sync = info["node"], info["tip"], info["consensus"], info["sync"]
    when = datetime.datetime.fromtimestamp(tip["timestamp_ms"] / 1000, datetime.UTC)
    reachable = f"{consensus['reachable']} of {len(consensus['validators'])}, {consensus['quorum']} needed"
    facts: list[tuple[str, object]] = [
        ("node", f"{node['name']} ({node['role']}) at {url}"),
        ("network", f"{node['network']}, chain {node['chain_id'][:16]}…"),
        ("height", f"{tip['height']}, final since {when:%Y-%m-%d %H:%M:%S} UTC"),
        ("block id", tip["block_id"]),
        ("deciding", f"height {consensus['height']}, round {consensus['round']}, {consensus['phase']}"),
        ("validators", reachable),
        ("peers", info["peers"]),
        ("pool", f"{info['pool']['transactions']} transactions, {info['pool']['size_bytes']} bytes"),
    ]
    if sync["syncing"]:
        facts.append(("syncing", f"{sync['height']} of {sync['target_height']}"))
    if consensus["stalled_reason"]:
        facts.append(("NO BLOCKS", consensus["stalled_reason"]))
    facts += [("not ready", f"{item['code']}: {item['message']}") for item in info["reasons"]]
    return facts


def _show_validators(consensus: Mapping[str, Any]) -> None:
    rows = [
        (
            item["index"],
            item["name"] or "-",
            "yes" if item["connected"] else "NO",
            item["last_signed_height"],
            item["seen_round"],
            item["suspended_until"],
            item["public_key"][:16] + "…",
        )
        for item in consensus["validators"]
    ]
    click.echo()
    heads = ("#", "VALIDATOR", "REACHABLE", "LAST SIGNED", "ROUND", "SUSPENDED UNTIL", "KEY")
    show_table(heads, rows, right=(0, 3, 4, 5))
