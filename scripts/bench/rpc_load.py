"""Measure what public RPC does to votes: block intervals with and without readers of one validator, in turn.

    python -m scripts.bench.rpc_load --seconds 15 --rounds 3

Kinds of readers, all at the same validator of four, in a process of their own at a lower priority:
`idle`: 500 WebSockets that subscribed and hear what they subscribed to; `slow`: 50 that subscribed to
blocks and never read; `reads`: eight connections that ask for blocks, pages and supplies as fast as they
are answered. Each window stands beside a quiet one just before it, both under the same steady payments.
The figures are ratios: of the mean block intervals, and of the times that the victim's phases `preparing` and
`committing` take, in which it waits for votes and votes itself. JSON on stdout, progress on stderr.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from drexnode import client as rpc
from scripts.bench.arena import Arena, Shape, open_arena
from scripts.bench.latency import open_loop
from scripts.bench.report import say

KINDS = ("idle", "slow", "reads")
READERS_NICE = "5"
SETTLE_S = 2.0
PAYMENTS_A_SECOND = 100
VOTING = ('phase="preparing"', 'phase="committing"')
SLOWER_AT_MOST = 1.10


def window(arena: Arena, seconds: float) -> dict[str, float]:
    """Mean block interval by headers, and mean seconds of each phase at the victim, over a time."""
    with rpc.Client(arena.urls[0], timeout_s=60) as client, rpc.Client(arena.urls[1], timeout_s=60) as other:
        first, before = other.run(rpc.block_number()), phases(client)
        open_loop(arena, PAYMENTS_A_SECOND, seconds)
        last, after = other.run(rpc.block_number()), phases(client)
        rows = [row for low in range(first + 1, last + 1, 200)
                for row in other.run(rpc.headers(low, min(last, low + 199)))]  # fmt: skip
    found = {"blocks": float(last - first)}
    if len(rows) > 1:
        span = rows[-1]["timestamp_ms"] - rows[0]["timestamp_ms"]
        found["interval_ms"] = round(span / (len(rows) - 1), 1)
    count = after["count"] - before["count"]
    if count:
        found["phase_ms"] = round(1000 * (after["sum"] - before["sum"]) / count, 2)
    return found


def phases(client: rpc.Client) -> dict[str, float]:
    """Sum and count of `drex_qbft_phase_seconds` over the phases of voting."""
    text = client.get("/metrics")[1].decode()
    totals = {"sum": 0.0, "count": 0.0}
    for line in text.splitlines():
        for name in totals:
            if line.startswith(f"drex_qbft_phase_seconds_{name}") and any(phase in line for phase in VOTING):
                totals[name] += float(line.rsplit(" ", 1)[1])
    return totals


@contextmanager
def readers(kind: str, url: str) -> Iterator[None]:
    """A process of readers, connected before the block begins and gone after it."""
    command = ["nice", "-n", READERS_NICE, sys.executable, "-m", "scripts.bench.rpc_readers", kind, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline().strip()
        if said != "ready":
            raise click.ClickException(f"the readers did not connect: {said!r}")
        yield
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def in_turn(arena: Arena, kind: str, seconds: float, rounds: int) -> dict[str, Any]:
    """Quiet and loaded windows one after the other; medians of the rounds, and their ratios."""
    pairs = []
    for number in range(rounds):
        quiet = window(arena, seconds)
        with readers(kind, arena.urls[0]):
            time.sleep(SETTLE_S)
            loaded = window(arena, seconds)
        say(f"{kind} {number + 1}/{rounds}: quiet {quiet}, loaded {loaded}")
        pairs.append((quiet, loaded))
        time.sleep(SETTLE_S)
    ratios = {
        name: [
            round(loaded[name] / quiet[name], 3)
            for quiet, loaded in pairs
            if name in quiet and name in loaded
        ]
        for name in ("interval_ms", "phase_ms")
    }
    middle = {name: statistics.median(found) for name, found in ratios.items() if found}
    return {
        "ratios": ratios,
        "median": middle,
        "within": middle.get("interval_ms", float("inf")) <= SLOWER_AT_MOST,
        "windows": [{"quiet": quiet, "loaded": loaded} for quiet, loaded in pairs],
    }


@click.command(epilog="Example: python -m scripts.bench.rpc_load --kind reads --seconds 15 --rounds 3")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), default=KINDS, show_default=True)
@click.option("--seconds", default=15.0, show_default=True, help="Of a window.")
@click.option("--rounds", default=3, show_default=True, help="Pairs of windows for each kind.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(kinds: tuple[str, ...], seconds: float, rounds: int, out: Path | None) -> None:
    """Block intervals and phases of consensus, with and without readers of a validator."""
    with open_arena(
        Shape(validators=4, coins=1_000, variables={"DREX_RPC_MAX_CONNECTIONS": "1000"})
    ) as arena:
        time.sleep(SETTLE_S)
        found = {kind: in_turn(arena, kind, seconds, rounds) for kind in kinds}
    text = json.dumps({"validators": 4, "seconds": seconds, "kinds": found}, indent=2)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", "utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
