"""Hours in minutes: a steady load while peers come and go, and nothing in a node may grow.

    python -m tests.network.soak --minutes 45 --connections 5000 --out docs/soak.svg

Four validators, each a process; transfers at a steady rate go to two of them. A permitted full node connects
to a third and leaves again, `connections` times in all, and as many strangers are refused. Every few seconds
memory, descriptors, threads and tasks of each validator are read. The slope over the last two thirds is
shown, of the validator with the churn beside one without, which has the same chain and load; and when the
last connection has been over for a while, descriptors and tasks must be what they were before the first. What
is under way at one moment comes and goes (a status exchanged with three peers is six tasks), so the least of
several readings counts: a leak never goes away.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import trio

from drexnode import client as rpc
from drexnode.join_bundle import read_bundle
from scripts.charts import Series, slope_an_hour, write_svg
from tests.attacks.target import GONE, Target
from tests.network.machine import machine_line
from tests.network.net import Network, network
from tests.network.steady import SteadyLoad, signed_transfers
from tests.p2p.villains import is_refused, session_to

CHURNED, QUIET = "validator-0", "validator-1"
LOADED = ["validator-1", "validator-2"]
STAY_S = 0.2
HANDSHAKE_S = 5.0
MAX_MEMORY_SLOPE = 20e6  # bytes an hour more than the quiet validator's
MAX_LEFT = 3  # descriptors or tasks more than before the churn, once requests under way have timed out
SETTLE_S = 30.0
READINGS, BETWEEN_READINGS_S = 20, 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """One validator at one moment."""

    at_s: float
    node: str
    resident_bytes: int
    descriptors: int
    threads: int
    tasks: int
    height: int


def read(net: Network, name: str, started: float) -> Sample:
    """Read one validator now."""
    node = net.devnet.node(name)
    process = node.process
    assert process is not None, f"{name} is gone"
    folder = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    figures = net.ask(name, rpc.metrics())
    return Sample(
        at_s=time.monotonic() - started,
        node=name,
        resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
        descriptors=len(os.listdir(folder / "fd")),
        threads=int(status["Threads"]),
        tasks=round(float(figures["drex_tasks"][0]["value"])),
        height=round(float(figures["drex_chain_height"][0]["value"])),
    )


def at_rest(net: Network, name: str, started: float) -> Sample:
    """The last of several readings, with the fewest descriptors and tasks that any of them had."""
    readings = []
    for _ in range(READINGS):
        readings.append(read(net, name, started))
        time.sleep(BETWEEN_READINGS_S)
    return replace(
        readings[-1],
        descriptors=min(reading.descriptors for reading in readings),
        tasks=min(reading.tasks for reading in readings),
    )


class Churn:
    """Connections that come and go, in a thread of their own. `made` and `refused` count them."""

    def __init__(self, target: Target, count: int, seconds: float) -> None:
        self._target, self._count, self._every_s = target, count, seconds / max(1, count)
        self.made = self.refused = self.failed = 0
        self._thread = threading.Thread(target=trio.run, args=(self._run, seconds), daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    async def _run(self, seconds: float) -> None:
        begin = trio.current_time()
        for number in range(self._count):
            await trio.sleep_until(begin + number * self._every_s)
            if trio.current_time() > begin + seconds:
                return
            await self._come_and_go()
            with suppress(*GONE, trio.TooSlowError), trio.fail_after(HANDSHAKE_S):
                self.refused += await is_refused(self._target, secrets.token_bytes(32))

    async def _come_and_go(self) -> None:
        try:
            with trio.fail_after(HANDSHAKE_S):
                async with session_to(self._target, self._target.own_seed):
                    await trio.sleep(STAY_S)
            self.made += 1
        except* (*GONE, trio.TooSlowError):
            self.failed += 1


def churn_target(net: Network) -> Target:
    """The churned validator, and a permitted identity for it."""
    bundle = net.folder / "churn.json"
    net.json("registry", "invite", "full", "99990001", "--by", "bcb-registry", "--bundle", bundle)
    node = net.devnet.node(CHURNED)
    genesis = str(net.folder / "genesis.json")
    return Target(node.p2p_address, node.rpc_url, genesis, read_bundle(bundle).body.peer_seed.hex())


def soak(
    net: Network, seconds: float, connections: int, rate: int, every_s: float
) -> tuple[list[Sample], tuple[Sample, Sample], Churn]:
    """Load, churn and samples for so long; the pair is the churned validator before and after all of it."""
    churn = Churn(churn_target(net), connections, seconds)
    load = SteadyLoad(net, signed_transfers(net, round(rate * (seconds + 60))), rate, LOADED)
    samples: list[Sample] = []
    started = time.monotonic()
    before = at_rest(net, CHURNED, started)
    with load.running():
        churn.start()
        while time.monotonic() < started + seconds:
            samples += [read(net, name, started) for name in (CHURNED, QUIET)]
            last = samples[-2]
            print(
                f"{last.at_s:6.0f} s  height {last.height:6}  {last.resident_bytes / 1e6:6.1f} MB  "
                f"{last.descriptors:3} descriptors  {last.tasks:3} tasks  {churn.made} came and went, "
                f"{churn.refused} refused",
                flush=True,
            )
            time.sleep(every_s)
        churn.join()
    time.sleep(SETTLE_S)
    after = at_rest(net, CHURNED, started)
    assert not load.refused, load.refused[0]
    return samples, (before, after), churn


def slopes(samples: Sequence[Sample], name: str) -> dict[str, float]:
    """What grew an hour at one validator, over the last two thirds of the time."""
    own = [sample for sample in samples if sample.node == name]
    steady = [sample for sample in own if sample.at_s >= own[-1].at_s / 3]
    return {
        what: slope_an_hour([(sample.at_s, float(getattr(sample, what))) for sample in steady])
        for what in ("resident_bytes", "descriptors", "threads", "tasks")
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--connections", type=int, help="that come and go  [default: 111 a minute]")
    parser.add_argument("--rate", type=int, default=20, help="transfers a second")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--out", type=Path, help="plot (SVG); the samples go beside it as JSON")
    given = parser.parse_args(arguments)
    connections = round(111.2 * given.minutes) if given.connections is None else given.connections
    machine = machine_line()
    print(machine, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="drexnode-soak-"))
    with network(folder / "net", full=0, observers=0) as net:
        samples, (before, after), churn = soak(net, given.minutes * 60, connections, given.rate, given.every)
    churned, quiet = slopes(samples, CHURNED), slopes(samples, QUIET)
    for what in churned:
        print(f"{what}: {churned[what]:+,.1f} an hour with churn, {quiet[what]:+,.1f} without")
    left = {what: getattr(after, what) - getattr(before, what) for what in ("descriptors", "tasks")}
    print(f"left {SETTLE_S:g} s after the last: {left['descriptors']:+} descriptors, {left['tasks']:+} tasks")
    print(f"{churn.made} connections came and went, {churn.refused} strangers refused, {churn.failed} failed")
    if given.out is not None:
        series = [
            Series(
                f"{label}, {name}",
                [
                    (sample.at_s / 60, getattr(sample, what) / unit)
                    for sample in samples
                    if sample.node == name
                ],
            )
            for what, label, unit in (
                ("resident_bytes", "MB resident", 1e6),
                ("descriptors", "descriptors", 1),
                ("tasks", "tasks", 1),
            )
            for name in (CHURNED, QUIET)
        ]
        title = f"{given.minutes:g} min, {churn.made + churn.refused} connections, {given.rate} transfers/s"
        write_svg(given.out, title, "minutes", series)
        rows = {"machine": machine, "samples": [asdict(sample) for sample in samples]}
        given.out.with_suffix(".json").write_text(json.dumps(rows) + "\n")
    grew = churned["resident_bytes"] - quiet["resident_bytes"] > MAX_MEMORY_SLOPE
    leaks = any(count > MAX_LEFT for count in left.values())
    if grew or leaks or churn.made < connections // 2:
        print(f"failed; logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
