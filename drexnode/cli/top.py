"""`drexnode top`: one node and its network, live in the terminal, or once as text, JSON or a picture."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import click

from drexnode import client as rpc
from drexnode.cli.locate import open_client
from drexnode.cli.options import ExampleCommand, as_output, at_node
from drexnode.cli.output import CliError, show_json

LEAST_WIDTH = 80


@click.command("top", cls=ExampleCommand, example="drexnode top --home node\ndrexnode top --once -o json")
@at_node
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Show one moment and end.")
@click.option("--width", type=click.IntRange(LEAST_WIDTH, 400), help="Columns.  [default: the terminal's]")
@click.option(
    "--svg",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --once: write the view to a new picture instead of the terminal.",
)
@as_output
def command(interval: float, once: bool, width: int | None, svg: Path | None, as_json: bool) -> None:
    """Sync, round and phase, quorum, signatures, peers, pool, hot set and disk, live until Ctrl-C.

    A mark stands for one final block: full when the validator's seal is in its certificate. In the live view
    a node that stops answering is shown so, and is asked again.
    """  # fmt: skip
    if svg is not None and not once:
        raise click.UsageError("--svg is for one moment: give --once too")
    if svg is not None and svg.exists():
        raise CliError("FILE_EXISTS", f"{svg} exists and is not overwritten", path=str(svg))
    with open_client() as client:
        if as_json:
            show_json(_as_json(client))
        elif once:
            _show_once(client, width, svg)
        else:
            _show_live(client, interval, width)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _as_json(client: rpc.Client) -> dict[str, Any]:
    from drexnode.cli.top_facts import Gatherer

    facts = Gatherer(client).gather()
    sealed = [
        {"height": block.height, "round": block.round, "signers": sorted(block.signers)}
        for block in facts.sealed
    ]
    peers = None if facts.peers is None else list(facts.peers)
    return {
        "rpc_url": facts.url,
        **facts.info,
        "peers": peers,
        "peer_count": facts.info["peers"],
        "sealed": sealed,
        "metrics": {name: samples for name, samples in facts.metrics.items() if "_bucket" not in name},
    }


def _show_once(client: rpc.Client, width: int | None, svg: Path | None) -> None:
    from rich.console import Console

    from drexnode.cli.top_facts import Gatherer
    from drexnode.cli.top_view import render

    facts = Gatherer(client).gather()
    out = io.StringIO() if svg is not None else None
    console = Console(width=width, record=svg is not None, file=out, force_terminal=True if svg else None)
    console.print(render(facts, console.width, _now_ms()))
    if svg is not None:
        svg.write_text(console.export_svg(title=f"drexnode top ({console.width} columns)"), "utf-8")
        click.echo(str(svg))


def _show_live(client: rpc.Client, interval: float, width: int | None) -> None:
    """Look until Ctrl-C. The first look must succeed; later ones may fail and are tried again."""
    from rich.console import Console
    from rich.live import Live

    from drexnode.cli.top_facts import Gatherer
    from drexnode.cli.top_view import render

    gatherer = Gatherer(client)
    facts = gatherer.gather()
    console = Console(width=width)
    if not console.is_terminal:
        raise click.UsageError("the live view needs a terminal; use --once, or -o json")
    trouble = None
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(render(facts, console.width, _now_ms(), trouble), refresh=True)
                time.sleep(interval)
                try:
                    facts, trouble = gatherer.gather(), None
                except (rpc.NodeUnreachable, rpc.RpcRefused) as error:
                    trouble = error.message
    except KeyboardInterrupt:
        return
