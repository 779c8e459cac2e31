"""One of four validators is killed under load: how much longer do blocks take?

    python -m tests.network.dead_validator --rate 300 --seconds 30

Four validators in processes of their own. The median interval between blocks is taken over `seconds` before
the kill and over as many after it, the wait for the dead proposer included. Fails when it grew by 20 %.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from drexnode import client as rpc
from tests.network.machine import machine_line
from tests.network.net import Network, network, until
from tests.network.steady import SteadyLoad, headers, intervals_ms, signed_transfers

MOST_GROWTH = 0.20
_WARM_UP_S = 3.0
_VICTIM = "validator-3"
_SURVIVORS = ["validator-0", "validator-1", "validator-2"]


@dataclass(frozen=True, slots=True)
class Figures:
    """Block intervals with all four validators, and with three of them."""

    before_ms: list[int]
    after_ms: list[int]
    rounds_after: list[int]  # in which each block without the dead one was decided
    lost: int

    @property
    def growth(self) -> float:
        """By how much of itself the median grew."""
        return statistics.median(self.after_ms) / statistics.median(self.before_ms) - 1

    def __str__(self) -> str:
        before, after = statistics.median(self.before_ms), statistics.median(self.after_ms)
        waits = sum(round > 0 for round in self.rounds_after)
        return (
            f"median interval {before:.0f} ms in {len(self.before_ms)} blocks with four validators, "
            f"{after:.0f} ms in {len(self.after_ms)} with three ({100 * self.growth:+.1f} %); {waits} blocks "
            f"came after a round's timeout, the longest wait was {max(self.after_ms)} ms; "
            f"{self.lost} transfers lost"
        )


def measure(net: Network, rate: int, seconds: float, say: Callable[[str], None]) -> Figures:
    """Kill one validator in the middle of a load of `rate` transfers a second."""
    transfers = signed_transfers(net, round(rate * (2 * seconds + 2 * _WARM_UP_S)))
    load = SteadyLoad(net, transfers, rate, _SURVIVORS)
    with load.running():
        time.sleep(_WARM_UP_S)
        before_ms = intervals_ms(_watch(net, seconds))
        say(f"{statistics.median(before_ms):.0f} ms between blocks; {_VICTIM} is killed")
        net.devnet.kill(net.devnet.node(_VICTIM))
        after = _watch(net, seconds)
    lost = load.lost(net, "validator-0", survivors=_SURVIVORS, timeout_s=30)
    assert not load.refused, load.refused[0]
    rounds = [_round_of(net, header["height"]) for header in after[1:]]
    return Figures(before_ms, intervals_ms(after), rounds, len(lost))


def _round_of(net: Network, height: int) -> int:
    certificate = net.ask("validator-0", rpc.certificate(height))
    assert certificate is not None
    return int(certificate["round"])


def _watch(net: Network, seconds: float) -> list[dict[str, Any]]:
    """The headers of the blocks of the next `seconds`, and of the one before them."""
    first = until("validator-0 answers", lambda: net.height("validator-0"))
    time.sleep(seconds)
    last = until("validator-0 answers", lambda: net.height("validator-0"))
    return headers(net, "validator-0", first, last)


@click.command()
@click.option("--rate", default=300, show_default=True, help="Transfers a second.")
@click.option("--seconds", default=30.0, show_default=True, help="Before the kill, and after it.")
def main(rate: int, seconds: float) -> None:
    """Measure the block interval with and without one of four validators."""
    folder = Path(tempfile.mkdtemp(prefix="drexnode-dead-validator-"))
    print(machine_line(), flush=True)
    with network(folder / "net", full=0, observers=0) as net:
        figures = measure(net, rate, seconds, lambda text: print(text, flush=True))
    print(figures)
    if figures.growth >= MOST_GROWTH or figures.lost:
        raise SystemExit(f"failed; logs are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
