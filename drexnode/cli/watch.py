"""`drexnode watch`: what becomes final, a line each, until Ctrl-C; resumes by itself and from a cursor."""

from __future__ import annotations

import datetime
import json
from typing import Any

import click

from drexnode import client as rpc
from drexnode.cli.locate import open_client
from drexnode.cli.options import ExampleCommand, as_output, at_node
from drexnode.cli.output import OK, SCHEMA_VERSION
from primitives.units import format_amount

KINDS = ("blocks", "transactions", "consensus", "alerts")


@click.command(
    "watch",
    cls=ExampleCommand,
    example="drexnode watch blocks\ndrexnode watch alice -o json --count 1",
)
@click.argument("what", default="blocks")
@click.option("--after", metavar="CURSOR", help="Begin after an event seen earlier, without a gap.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many events.")
@at_node
@as_output
def command(what: str, after: str | None, count: int | None, as_json: bool) -> int:
    """Follow WHAT: blocks, transactions, consensus, alerts, or a wallet (name or address). Ctrl-C ends it.

    With -o json each event is one line with the cursor to go on after it. A lost connection is made again for
    a minute, and nothing is missed.
    """
    import trio

    from drexnode.cli.query import address_of

    with open_client() as client:
        kind, address = (what, None) if what in KINDS else ("address", address_of(client, what))
        decimals = {item.asset: item.decimals for item in client.run(rpc.assets())}
    try:
        trio.run(_print, client, kind, address, after, count, None if as_json else decimals)
    except KeyboardInterrupt:
        return OK
    return OK


async def _print(
    client: rpc.Client,
    kind: str,
    address: str | None,
    after: str | None,
    count: int | None,
    decimals: dict[str, int] | None,
) -> None:
    """With `decimals` of the assets a line for people, else JSON."""
    from drexnode.client_events import open_events

    seen = 0
    async with open_events(client.url, kind, address, after, token=client.token, tls=client.tls) as events:
        async for event in events:
            click.echo(
                json.dumps({"schema_version": SCHEMA_VERSION, "cursor": event.cursor, **event.result})
                if decimals is None
                else _line(kind, event.result, decimals)
            )
            seen += 1
            if seen == count:
                return


def _line(kind: str, event: dict[str, Any], decimals: dict[str, int]) -> str:
    if kind == "blocks":
        signers = len(event["certificate"]["seals"]) if event["certificate"] else 0
        return (
            f"{_clock(event['timestamp_ms'])}  block {event['height']}  {event['block_id'][:16]}…  "
            f"{len(event['transactions'])} transactions, round {event['round']}, {signers} seals"
        )
    if kind == "consensus":
        return f"{_clock(event['at_ms'])}  block {event['height']}  round {event['round']}  {event['phase']}"
    if kind == "alerts":
        hint = f"; {event['next']}" if event["next"] and event["state"] == "raised" else ""
        return f"{_clock(event['at_ms'])}  {event['state']}  {event['code']}  {event['message']}{hint}"
    paid = ", ".join(_output(item, decimals.get(item["asset"], 0)) for item in event["outputs"])
    return f"block {event['height']}  {event['kind']}  {event['txid'][:16]}…  {paid or '-'}"


def _clock(at_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC):%H:%M:%S}"


def _output(item: dict[str, Any], decimals: int) -> str:
    return f"{format_amount(int(item['amount']), decimals)} {item['asset']} to {item['address'][:16]}…"
