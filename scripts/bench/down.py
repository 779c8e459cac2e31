"""Measure four validators against three of the four: throughput and idle latency, in turn, in one run.

    python -m scripts.bench.down [--seconds 15] [--payments 50] [--repeat 5] [--out FILE]

Each round measures with all four, kills one (`kill -9`, another one each round), measures, and starts it
again. Ratios are made round by round, so that a machine that grows busier does not decide them. The first
payments after the kill wait for the dead proposer's turns: those payments count, they are the price.
"""

from __future__ import annotations

from pathlib import Path

import click

from scripts.bench.arena import Arena, Shape, open_arena
from scripts.bench.latency import idle
from scripts.bench.report import Figures, emit, say, spread
from scripts.bench.window import ratio, run_window, warm_up


def measure(arena: Arena, seconds: float, payments: int, backlog: int) -> Figures:
    """A window and an idle network's latency, of the validators that live."""
    return {"window": run_window(arena, seconds, backlog), "idle": idle(arena, payments)}


def one_round(arena: Arena, victim: int, seconds: float, payments: int, backlog: int) -> Figures:
    """All up, one down, and up again."""
    up = measure(arena, seconds, payments, backlog)
    node = arena.validators[victim]
    say(f"{node.name} is killed")
    arena.kill(node)
    down = measure(arena, seconds, payments, backlog)
    arena.start(node)
    arena.wait_ready()
    return {
        "up": up,
        "down": down,
        "throughput_ratio": ratio(down["window"]["final_tx_per_s"], up["window"]["final_tx_per_s"]),
        "idle_p50_ratio": (down["idle"]["final_on_all"]["p50_ms"] / up["idle"]["final_on_all"]["p50_ms"]),
    }


@click.command(epilog="Example: python -m scripts.bench.down --seconds 15 --out build/bench/down.json")
@click.option("--seconds", default=15.0, show_default=True, help="Of a window.")
@click.option("--payments", default=50, show_default=True, help="For idle latency.")
@click.option("--repeat", default=5, show_default=True, help="Rounds.")
@click.option("--backlog", default=12_000, show_default=True, help="Payments under way at most.")
@click.option("--coins", default=24_000, show_default=True, help="Chains of payments.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(seconds: float, payments: int, repeat: int, backlog: int, coins: int, out: Path | None) -> None:
    """Measure round after round."""
    with open_arena(Shape(4, coins=coins)) as arena:
        warm_up(arena, backlog)
        rounds = []
        for number in range(repeat):
            say(f"round {number + 1} of {repeat}")
            rounds.append(one_round(arena, number % 4, seconds, payments, backlog))
    results: Figures = {
        name: spread([found[name] for found in rounds], 3) for name in ("throughput_ratio", "idle_p50_ratio")
    }
    for state in ("up", "down"):
        results[f"{state}_tx_per_s"] = spread(
            [found[state]["window"]["final_tx_per_s"] for found in rounds], 0
        )
        latencies = [found[state]["idle"]["final_on_all"]["p50_ms"] for found in rounds]
        results[f"{state}_idle_p50_ms"] = spread(latencies)
    setting = {"validators": 4, "seconds": seconds, "payments": payments, "backlog": backlog}
    emit(setting, results | {"rounds": rounds}, out)


if __name__ == "__main__":
    main()
