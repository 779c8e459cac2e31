"""One of four validators has a clock that is an hour wrong: blocks go on, and it follows them.

    python -m tests.network.clock_offset --seconds 20

Once an hour ahead, once an hour behind, under load. Fails when the chain stood for longer than two round
timeouts, when the validator with the wrong clock lags behind or when a transfer was lost.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click

from drexnode import client as rpc
from drexnode.clock import OFFSET_VARIABLE
from drexnode.processes import start_process, stop_processes
from tests.network.machine import machine_line
from tests.network.net import Network, network, until
from tests.network.steady import SteadyLoad, signed_transfers

HOUR_MS = 3_600_000
WRONG = "validator-2"
_RIGHT = ["validator-0", "validator-1", "validator-3"]
_MOST_STANDING_S = 10.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Figures:
    """How the chain went on, seen from a validator whose clock is right."""

    blocks: int
    median_ms: float
    longest_s: float
    sealed_by_wrong: int

    def __str__(self) -> str:
        return (
            f"{self.blocks} blocks, one each {self.median_ms:.0f} ms (median), the longest wait "
            f"{self.longest_s:.1f} s; {self.sealed_by_wrong} of them sealed by the wrong clock's validator"
        )


def set_clock(net: Network, offset_ms: int) -> None:
    """Start one validator again with a clock that is wrong by `offset_ms`."""
    node = net.devnet.node(WRONG)
    assert node.process is not None
    stop_processes([node.process])
    start_process(node.home, variables={OFFSET_VARIABLE: str(offset_ms)} if offset_ms else None)
    net.devnet.wait_started([node], lambda line: None)


def measure(net: Network, rate: int, seconds: float) -> Figures:
    """Watch the chain for `seconds` under load. Raises `AssertionError` when something was lost."""
    transfers = signed_transfers(net, round(rate * (seconds + 3)))
    load = SteadyLoad(net, transfers, rate, _RIGHT)
    first = until("validator-0 answers", lambda: net.height("validator-0"))
    with load.running():
        seen = _watch(net, seconds)
    lost = load.lost(net, WRONG, survivors=_RIGHT, timeout_s=30)
    assert not lost, f"{len(lost)} transfers are not final at {WRONG}, e.g. {min(lost)}"
    waits = [later - earlier for earlier, later in pairwise(seen)]
    last = first + len(seen)
    net.await_agreement(last)
    return Figures(len(seen), 1000 * statistics.median(waits), max(waits), _sealed(net, first + 1, last))


def _watch(net: Network, seconds: float) -> list[float]:
    """The moments at which heights were first seen, in seconds."""
    begin, tip, seen = time.monotonic(), net.height("validator-0") or 0, []
    while time.monotonic() - begin < seconds:
        height = net.height("validator-0") or tip
        seen += [time.monotonic()] * (height - tip)
        tip = height
        time.sleep(_POLL_S)
    return seen


def _sealed(net: Network, first: int, last: int) -> int:
    """How many blocks carry a seal by the validator with the wrong clock."""
    info = net.ask("validator-0", rpc.network_info())["consensus"]["validators"]
    [key] = [item["public_key"] for item in info if item["name"] == WRONG]
    certificates = (net.ask("validator-0", rpc.certificate(height)) for height in range(first, last + 1))
    return sum(certificate is not None and key in certificate["signers"] for certificate in certificates)


def run(
    net: Network, rate: int, seconds: float, say: Callable[[str], None], most_s: float = _MOST_STANDING_S
) -> None:
    """An hour ahead, an hour behind, and right again. Raises `AssertionError` when the chain stood."""
    for offset_ms, what in ((HOUR_MS, "an hour ahead"), (-HOUR_MS, "an hour behind"), (0, "right again")):
        set_clock(net, offset_ms)
        figures = measure(net, rate, seconds)
        say(f"{WRONG}'s clock is {what}: {figures}")
        assert figures.longest_s < most_s, f"the chain stood for {figures.longest_s:.1f} s"


@click.command()
@click.option("--rate", default=100, show_default=True, help="Transfers a second.")
@click.option("--seconds", default=20.0, show_default=True, help="With each clock.")
def main(rate: int, seconds: float) -> None:
    """Set one of four validators' clocks wrong by an hour, either way, under load."""
    folder = Path(tempfile.mkdtemp(prefix="drexnode-clock-"))
    print(machine_line(), flush=True)
    with network(folder / "net", full=0, observers=0) as net:
        run(net, rate, seconds, lambda text: print(text, flush=True))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
