"""Draw the figures of measurements: `docs/performance/*.svg` from the JSON that the benches wrote.

    python -m scripts.bench.plots [--dir build/bench] [--out docs/performance]

Reads whichever of model.json, state.json, network.json and latency.json are in the folder, and names those
that are missing with the command that makes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from primitives.errors import DrexError
from scripts.bench.report import say
from scripts.charts import Panel, Series, write_panels


def draw_model(document: dict[str, Any], path: Path) -> None:
    """Block interval and payments a second by number of validators."""
    curves: dict[str, list[dict[str, Any]]] = document["results"]["curve"]

    def lines(of: str, curves: dict[str, list[dict[str, Any]]]) -> tuple[Series, ...]:
        return tuple(
            Series(f"{size} a block", [(float(row["validators"]), float(row[of])) for row in rows])
            for size, rows in curves.items()
        )

    panels = [
        Panel("block interval, ms", lines("block_interval_ms", curves)),
        Panel("final payments a second", lines("tx_per_s", curves)),
        Panel("a core's ms a block for votes alone", lines("core_ms_a_block_votes_alone", curves)),
    ]
    write_panels(path, _title("Model", document), "validators", panels)


def draw_state(document: dict[str, Any], path: Path) -> None:
    """Payments a second and memory by unspent outputs."""
    results, sizes = document["results"], [int(size) for size in document["setting"]["outputs"]]
    rates = [results["throughput"][f"{size} outputs"]["final_tx_per_s"]["median"] for size in sizes]
    rss = [results[f"{size} outputs"]["after_the_load"]["rss_mib"] for size in sizes]
    panels = [
        Panel("final payments a second", (Series("", list(zip(sizes, rates, strict=True))),)),
        Panel("MiB of RAM of a validator", (Series("", list(zip(sizes, rss, strict=True))),)),
    ]
    write_panels(path, _title("State", document), "unspent outputs", panels, logarithmic=True)


def draw_network(document: dict[str, Any], path: Path) -> None:
    """Payments a second, window after window, of each network and load."""
    panels = []
    for name, found in document["results"].items():
        variants = {key: value for key, value in found["backlog"].items() if key != "ratio_to_the_first"}
        lines = tuple(
            Series(
                variant, [(float(n + 1), float(run["final_tx_per_s"])) for n, run in enumerate(made["runs"])]
            )
            for variant, made in variants.items()
        )
        panels.append(Panel(f"{name}: final payments a second", lines))
    write_panels(path, _title("Backlog", document), "window", panels)


def draw_latency(document: dict[str, Any], path: Path) -> None:
    """Idle and open-loop latency, run after run."""
    runs = document["results"]["runs"]

    def line(of: str, name: str, share: str) -> Series:
        return Series(f"{share}", [(float(n + 1), float(run[name][share])) for n, run in enumerate(runs[of])])

    rows = [
        ("idle", "by_rpc_final_on_all", "idle, ms from JSON-RPC to final on all"),
        ("idle", "by_p2p_final_on_all", "idle, ms from P2P to final on all"),
        ("open_loop", "final_on_all", "open loop, ms from due to final on all"),
    ]
    panels = [
        Panel(title, tuple(line(of, name, share) for share in ("p50_ms", "p99_ms")))
        for of, name, title in rows
    ]
    write_panels(path, _title("Latency", document), "run", panels)


def _title(what: str, document: dict[str, Any]) -> str:
    machine = document["machine"]
    return (
        f"{what}: {machine['cores']} cores, Python {machine['python']}, load {machine['load'][0]:.1f}, "
        f"commit {document['commit']}"
    )


DRAWERS: dict[str, tuple[Callable[[dict[str, Any], Path], None], str]] = {
    "model": (draw_model, "scripts.bench.model"),
    "state": (draw_state, "scripts.bench.big_state"),
    "network": (draw_network, "scripts.bench.network --seconds 60"),
    "latency": (draw_latency, "scripts.bench.latency"),
}


@click.command(epilog="Example: python -m scripts.bench.plots --dir build/bench --out docs/performance")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default=Path("build/bench"), show_default=True
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/performance"), show_default=True)
def main(folder: Path, out: Path) -> None:
    """Draw what is there."""
    drawn = 0
    for name, (draw, command) in DRAWERS.items():
        source = folder / f"{name}.json"
        if not source.is_file():
            say(f"{source} is missing: python -m {command} --out {source}")
            continue
        out.mkdir(parents=True, exist_ok=True)
        draw(json.loads(source.read_text("utf-8")), out / f"{name}.svg")
        say(f"{out / name}.svg")
        drawn += 1
    if not drawn:
        raise DrexError("BENCH_NO_FIGURES", f"{folder} holds no measurement", next="make bench-full")


if __name__ == "__main__":
    main()
