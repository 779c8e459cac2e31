"""Ten nodes 40 ms apart, load, kills and partitions: blocks whenever a quorum can talk, one chain at the end.

    python -m tests.netns.run --minutes 10 --seed 1

Seven validators, two full nodes and an observer, each in a network namespace, joined each to each by links
with a relay in the middle (`tests/netns/mesh.py`). What happens is drawn from the seed
(`tests/netns/schedule.py`). Fails when a connected quorum made no block for `--most-s`, when a block came
without a quorum, when nodes differ in any block or state root, or when something is lost that a node took
which was never killed. Says so and ends with 77 where namespaces are not permitted.
"""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from primitives.validators import quorum_size
from tests.netns.net import NamespaceNetwork, namespace_network
from tests.netns.sandbox import enter
from tests.netns.schedule import Kill, Split, Stall, Trouble, draw
from tests.netns.watch import Watch
from tests.network.machine import machine_line
from tests.network.net import until
from tests.network.steady import SteadyLoad, headers, intervals_ms, signed_transfers

VALIDATORS, FULL, OBSERVERS = 7, 2, 1
MOST_S = 15.0

Say = Callable[[str], None]


def play(net: NamespaceNetwork, troubles: list[Trouble], total_s: float, say: Say) -> None:
    """Let the troubles happen at their moments, and put each right again."""
    begin = time.monotonic()
    for trouble in troubles:
        time.sleep(max(0.0, begin + trouble.at_s - time.monotonic()))
        say(f"{time.monotonic() - begin:4.0f} s: {trouble.what}, for {trouble.lasts_s:.0f} s")
        _suffer(net, trouble)
        say(f"{time.monotonic() - begin:4.0f} s: put right, height {_tip(net)}")
    time.sleep(max(0.0, begin + total_s - time.monotonic()))


def _suffer(net: NamespaceNetwork, trouble: Trouble) -> None:
    match trouble.what:
        case Kill(name):
            node = net.devnet.node(name)
            net.devnet.kill(node)
            time.sleep(trouble.lasts_s)
            net.devnet.start(node)
        case Split(one, two):
            net.mesh.split(one, two)
            time.sleep(trouble.lasts_s)
            net.mesh.heal()
        case Stall():
            with net.mesh.stalled():
                time.sleep(trouble.lasts_s)


def _tip(net: NamespaceNetwork) -> int:
    return max(net.height(node.name) or 0 for node in net.nodes)


def _has(net: NamespaceNetwork, name: str, height: int) -> bool:
    return (net.height(name) or 0) >= height


def check_one_chain(net: NamespaceNetwork) -> tuple[int, list[int]]:
    """Every node gets to the tip and has the same headers, so block ids and state roots, from the genesis on;
    the height, and the milliseconds between blocks."""
    tip = until("a tip", lambda: _tip(net))
    chains = {}
    for node in net.nodes:
        until(f"{node.name} at {tip}", partial(_has, net, node.name, tip), 120)
        chains[node.name] = headers(net, node.name, 0, tip)
    first = chains[net.nodes[0].name]
    assert len(first) == tip + 1
    assert all(rows == first for rows in chains.values()), "nodes differ"
    return tip, intervals_ms(first[1:])


def run(
    folder: Path, seed: int, total_s: float, rate: int, delay_ms: int, say: Say, most_s: float = MOST_S
) -> None:
    """The whole run. Raises `AssertionError` for any broken promise."""
    with namespace_network(
        folder, validators=VALIDATORS, full=FULL, observers=OBSERVERS, delay_ms=delay_ms
    ) as net:
        names, quorum = [node.name for node in net.nodes], quorum_size(VALIDATORS)
        say(f"{len(names)} nodes are up, {delay_ms} ms apart; making coins")
        transfers = signed_transfers(net, round(rate * total_s))
        troubles = draw(seed, names, quorum, total_s)
        senders = [node.name for node in net.nodes if node.role != "observer"]
        load, watch = SteadyLoad(net, transfers, rate, senders), Watch(net, quorum)
        with load.running(), watch.running():
            play(net, troubles, total_s, say)
        killed = {trouble.what.name for trouble in troubles if isinstance(trouble.what, Kill)}
        lived = [name for name in senders if name not in killed]
        lost = load.lost(net, lived[0], survivors=lived, timeout_s=60)
        tip, waits_ms = check_one_chain(net)
        taken = sum(len(txids) for txids in load.taken.values())
        say(
            f"{taken} transfers taken, {len(lost)} of those that living nodes took are lost; {tip} blocks, "
            f"the median interval {statistics.median(waits_ms):.0f} ms; the longest wait of a connected "
            f"quorum {watch.longest_wait_s:.1f} s; one chain and one state root on all {len(names)}"
        )
        assert not lost, f"lost, e.g. {min(lost)}"
        assert not load.refused, load.refused[0]
        assert not watch.blocks_without_quorum, f"{watch.blocks_without_quorum} blocks without a quorum"
        assert watch.longest_wait_s < most_s, f"a connected quorum waited {watch.longest_wait_s:.1f} s"


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="Of load, kills and partitions.")
@click.option("--seed", default=0, help="Of what happens; 0: a new one.")
@click.option("--rate", default=50, show_default=True, help="Transfers a second.")
@click.option("--delay-ms", default=40, show_default=True, help="Each way, on every link.")
@click.option(
    "--most-s", default=MOST_S, show_default=True, help="Fail when a connected quorum waits longer."
)
def main(minutes: float, seed: int, rate: int, delay_ms: int, most_s: float) -> None:
    """Run ten nodes in namespaces through kills and partitions under load."""
    enter("tests.netns.run")
    seed = seed or random.randrange(1, 1 << 32)
    folder = Path(tempfile.mkdtemp(prefix="drexnode-netns-"))
    print(f"{machine_line()}; seed {seed}, data in {folder} (kept on failure)", flush=True)
    run(folder / "net", seed, 60 * minutes, rate, delay_ms, lambda text: print(text, flush=True), most_s)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
