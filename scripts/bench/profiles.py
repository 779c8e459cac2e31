"""Measure what `node.profile` changes: final payments a second, idle latency and RAM, each profile in turn.

    .venv/bin/python -m scripts.bench.profiles [--validators 1] [--seconds 10] [--repeat 3] [--out FILE]

One network for each profile, side by side; windows with a backlog in turn, so that ratios are of one run,
then payments one after another, and the memory of the first validator at the end.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from drexnode.config_sections import StorageSection
from drexnode.profiles import PROFILES
from scripts.bench.arena import Arena, Shape, open_arena
from scripts.bench.latency import idle
from scripts.bench.report import Figures, emit
from scripts.bench.window import in_turn

_MIB = 1 << 20


def shape_of(profile: str, validators: int) -> Shape:
    """A network of this profile. What a devnet's files or the arena set by themselves is named to them."""
    found = PROFILES[profile]
    hot_set = found.get("storage.hot_set_bytes", StorageSection().hot_set_bytes)
    variables = {"DREX_NODE_PROFILE": profile, "DREX_STORAGE_HOT_SET_BYTES": str(hot_set)}
    return Shape(validators, workers=found.get("pool.verify_workers", 0), variables=variables)


def resident_mib(arena: Arena) -> int:
    """Resident memory of the first validator."""
    pages = Path(f"/proc/{arena.pids()[arena.validators[0].name]}/status").read_text()
    return int(pages.split("VmRSS:")[1].split()[0]) * 1024 // _MIB


@click.command(epilog="Example: python -m scripts.bench.profiles --seconds 20 --repeat 5")
@click.option("--validators", default=1, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Of a window.")
@click.option("--repeat", default=3, show_default=True, help="Windows of each profile.")
@click.option("--backlog", default=12_000, show_default=True, help="Payments under way at most.")
@click.option("--payments", default=50, show_default=True, help="For the latency of an idle network.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(validators: int, seconds: float, repeat: int, backlog: int, payments: int, out: Path | None) -> None:
    """Start a network for each profile, measure them in turn, stop them."""
    with ExitStack() as networks:
        arenas = {
            profile: networks.enter_context(open_arena(shape_of(profile, validators))) for profile in PROFILES
        }
        results: Figures = {"backlog": in_turn(arenas, seconds, backlog, repeat)}
        results["idle"] = {profile: idle(arena, payments) for profile, arena in arenas.items()}
        results["resident_mib"] = {profile: resident_mib(arena) for profile, arena in arenas.items()}
    setting = {"validators": validators, "seconds": seconds, "repeat": repeat, "backlog": backlog}
    emit(setting, results, out)


if __name__ == "__main__":
    main()
