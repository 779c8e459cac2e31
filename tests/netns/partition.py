"""Four validators split two and two by cut links, for a time, under load; how soon is there a block again?

    python -m tests.netns.partition --seconds 60 --rounds 3

Each validator lives in a network namespace; the four links between the halves are set down and up again. No
block may come while the halves are apart. Fails when the first block after the healing takes `--most-s` or
more, or when anything was lost. Says so and ends with 77 where namespaces are not permitted.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from tests.netns.net import NamespaceNetwork, namespace_network
from tests.netns.sandbox import enter
from tests.network.machine import machine_line
from tests.network.net import until
from tests.network.steady import SteadyLoad, signed_transfers

MOST_S = 5.0
_SETTLE_S = 1.5
_GIVE_UP_S = 60.0
_POLL_S = 0.01
_HALVES = (["validator-0", "validator-1"], ["validator-2", "validator-3"])
_ALL = [name for half in _HALVES for name in half]


@dataclass(frozen=True, slots=True)
class Healing:
    """What happened after one partition, in seconds from the moment the last link was up."""

    connected_s: float
    first_block_s: float
    caught_up_s: float

    def __str__(self) -> str:
        return (
            f"first block {self.first_block_s:.2f} s after the healing (halves connected after "
            f"{self.connected_s:.2f} s, all four at one height after {self.caught_up_s:.2f} s)"
        )


def part(net: NamespaceNetwork, seconds: float, say: Callable[[str], None]) -> Healing:
    """Split a network that is under load for `seconds`, heal it and watch."""
    net.mesh.split(*_HALVES)
    cut = time.monotonic()
    time.sleep(min(_SETTLE_S, seconds / 2))  # what was sent before the cut may still decide a block
    stood = _tips(net)
    assert max(stood) - min(stood) <= 1, stood
    while (left := cut + seconds - time.monotonic()) > 0:
        time.sleep(min(left, 10.0))
        assert max(_tips(net)) == max(stood), "a block without a quorum"
        say(f"apart for {time.monotonic() - cut:.1f} of {seconds:.0f} s, all stand at {max(stood)}")
    net.mesh.heal()
    return _watch_healing(net, max(stood))


def _tips(net: NamespaceNetwork) -> list[int]:
    return [until(f"{name} answers", partial(net.height, name)) for name in _ALL]


def _watch_healing(net: NamespaceNetwork, stood: int) -> Healing:
    healed = time.monotonic()
    connected_s = first_block_s = None
    while time.monotonic() - healed < _GIVE_UP_S:
        states = [state for state in net.devnet.status() if state.peers is not None]
        now_s = time.monotonic() - healed
        if connected_s is None and any(state.peers == len(_ALL) - 1 for state in states):
            connected_s = now_s
        if first_block_s is None and any((state.height or 0) > stood for state in states):
            first_block_s = now_s
        if first_block_s is not None and all((state.height or 0) > stood for state in states):
            return Healing(connected_s or now_s, first_block_s, now_s)
        time.sleep(_POLL_S)
    raise AssertionError(f"no common block within {_GIVE_UP_S} s of the healing")


def run(folder: Path, seconds: float, rounds: int, rate: int, say: Callable[[str], None]) -> list[Healing]:
    """`rounds` partitions one after another under one load; nothing that was taken may be lost."""
    with namespace_network(folder) as net:
        transfers = signed_transfers(net, round(rate * rounds * (seconds + 15)))
        load, healings = SteadyLoad(net, transfers, rate, _ALL), []
        with load.running():
            for number in range(1, rounds + 1):
                time.sleep(3)
                healings.append(part(net, seconds, say))
                say(f"partition {number} of {rounds}: {healings[-1]}")
        lost = load.lost(net, "validator-0", survivors=_ALL, timeout_s=60)
        assert not lost, f"{len(lost)} transfers were taken and lost, e.g. {min(lost)}"
        assert not load.refused, load.refused[0]
        net.await_agreement(until("a tip", lambda: net.height("validator-0")))
        taken = sum(len(txids) for txids in load.taken.values())
        say(f"{taken} transfers taken, all final; one chain on all four")
        return healings


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="Of each partition.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--rate", default=100, show_default=True, help="Transfers a second.")
@click.option("--most-s", default=MOST_S, show_default=True, help="Fail when the first block takes longer.")
def main(seconds: float, rounds: int, rate: int, most_s: float) -> None:
    """Split four validators two and two, heal, and time the first block."""
    enter("tests.netns.partition")
    folder = Path(tempfile.mkdtemp(prefix="drexnode-partition-"))
    print(machine_line(), flush=True)
    healings = run(folder / "net", seconds, rounds, rate, lambda text: print(text, flush=True))
    worst = max(healing.first_block_s for healing in healings)
    if worst >= most_s:
        raise SystemExit(f"failed: {worst:.2f} s, {most_s:.0f} are allowed; logs are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
