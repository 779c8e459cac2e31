"""Measure catching up against a plain replay of the same blocks, and against a snapshot.

    .venv/bin/python -m scripts.bench.catch_up [--blocks 400] [--transactions 50]     20,000 transactions
    .venv/bin/python -m scripts.bench.catch_up --blocks 20000                         a million

A chain is made on disk first. Then a full node that has it and an observer with an empty home run as
processes of their own, joined by libp2p over loopback; the time counts from the first look at which the
observer has a block to its tip. The replay (`drexnode replay`) reads the same blocks from its disk, verifies
every signature and executes them, in this process; the snapshot is made of the full node's state and
restored, with every check, into an empty home. Seconds of processor stand beside seconds of the clock: on a
machine that does other work they are what compares.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from drexnode import client as rpc
from drexnode.cli.locate import client_of_home
from drexnode.config import NodeConfig, Value, load_config
from drexnode.home import create_home
from drexnode.processes import NodeProcess, start_process, stop_processes
from drexnode.replay import replay_chain
from drexnode.snapshots import create_snapshot, restore_home
from drexnode.telemetry import setup_logging
from ledger.genesis_records import GenesisDocument
from p2p.identity import peer_id_from_seed
from scripts.bench.report import TICKS, cpu_s
from tests.drexnode.chain import Chain, genesis_document, key, open_finalizer
from tests.network.machine import machine_line
from tests.network.net import free_base_port

POLL_S = 0.25  # each look costs the observer a millisecond
START_TIMEOUT_S = 120.0
SAY_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Took:
    """How long so many blocks took, by the clock and of a processor."""

    blocks: int
    wall_s: float
    processor_s: float

    @property
    def wall_rate(self) -> float:
        """Blocks a second by the clock."""
        return self.blocks / self.wall_s

    @property
    def processor_rate(self) -> float:
        """Blocks a second of processor."""
        return self.blocks / max(self.processor_s, 1 / TICKS)

    def rate(self, transactions: int) -> str:
        """Transactions a second, by the one and by the other, of blocks that hold so many."""
        by_clock, by_processor = transactions * self.wall_rate, transactions * self.processor_rate
        return f"{by_clock:,.0f} tx/s by the clock, {by_processor:,.0f} a second of processor"


def measured(blocks: int, work: Callable[[], object]) -> Took:
    """Time work of this process."""
    wall_s, processor_s = time.perf_counter(), time.process_time()
    work()
    return Took(blocks, time.perf_counter() - wall_s, time.process_time() - processor_s)


def make_homes(folder: Path, document: GenesisDocument) -> dict[str, NodeConfig]:
    """Homes of the full node, the observer and a third that a snapshot fills, each allowed by the others."""
    base, names = free_base_port(3), ("full", "observer", "snapshot")
    peers = {name: peer_id_from_seed(key(name).seed) for name in names}
    server = f"/ip4/127.0.0.1/tcp/{base}/p2p/{peers['full']}"
    homes = {}
    for place, name in enumerate(names):
        settings: dict[str, Value] = {
            "p2p.listen": (f"/ip4/127.0.0.1/tcp/{base + place}",),
            "p2p.allow": tuple(peers.values()),
            "p2p.peers": () if name == "full" else (server,),
            "rpc.port": base + 50 + place,
            "log.format": "json",
        }
        role = "full" if name == "full" else "observer"
        create_home(folder / name, document, role, key(name).seed, None, settings)
        homes[name] = load_config(folder / name, environment={})
    return homes


async def grow(path: Path, document: GenesisDocument, blocks: int, transactions: int) -> None:
    """Make the chain."""
    with open_finalizer(path, document) as finalizer:
        chain, said = Chain(finalizer, document), time.monotonic()
        for height in range(1, blocks + 1):
            await finalizer.finalize(*chain.build(chain.transfers(transactions)))
            if time.monotonic() > said + SAY_EVERY_S:
                said = time.monotonic()
                print(f"block {height} of {blocks} is made", flush=True)


def catch_up(homes: dict[str, NodeConfig], blocks: int) -> Took:
    """From the observer's first block to its tip."""
    full = start_process(homes["full"].home)
    try:
        await_height(homes["full"], full, blocks)
        observer = start_process(homes["observer"].home)
        try:
            begun = await_height(homes["observer"], observer, 1)
            ended = await_height(homes["observer"], observer, blocks)
        finally:
            stop_processes([observer])
    finally:
        stop_processes([full])
    return Took(ended[0] - begun[0], ended[1] - begun[1], ended[2] - begun[2])


def await_height(config: NodeConfig, process: NodeProcess, height: int) -> tuple[int, float, float]:
    """Wait for a node's tip; its height, the clock and its processor seconds at that moment."""
    said = deadline = time.monotonic()
    deadline += START_TIMEOUT_S
    last = -1
    while True:
        try:
            with client_of_home(config) as client:
                found = client.run(rpc.block_number())
        except rpc.NodeUnreachable:
            found = -1
        if found >= height:
            return found, time.perf_counter(), cpu_s(process.pid)
        if found > last:
            last, deadline = found, time.monotonic() + START_TIMEOUT_S
        assert time.monotonic() < deadline, f"{config.node.name} stands at block {found}"
        if time.monotonic() > said + SAY_EVERY_S:
            said = time.monotonic()
            print(f"{config.home.name} is at block {found}", flush=True)
        time.sleep(POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=int, default=400)
    parser.add_argument("--transactions", type=int, default=50, help="in each block")
    arguments = parser.parse_args()
    setup_logging("error")
    print(machine_line(), flush=True)
    blocks = arguments.blocks
    with tempfile.TemporaryDirectory(prefix="drexnode-catch-up-") as text:
        folder, document = Path(text), genesis_document(outputs=max(64, 2 * arguments.transactions))
        homes = make_homes(folder, document)
        trio.run(grow, homes["full"].data_path, document, blocks, arguments.transactions)
        caught = catch_up(homes, blocks)
        print(f"catching up: {caught.rate(arguments.transactions)}", flush=True)
        replayed = measured(blocks, lambda: replay_chain(homes["observer"], _quiet))
        print(f"plain replay: {replayed.rate(arguments.transactions)}", flush=True)
        create_snapshot(homes["full"], folder / "state", _quiet)
        restored = measured(blocks, lambda: restore_home(homes["snapshot"], folder / "state", _quiet))
        print(f"snapshot restored: {restored.wall_s:.2f} s, {restored.processor_s:.2f} s of processor")
    print(
        f"catching up has {caught.wall_rate / replayed.wall_rate:.2f} of the replay's pace by the clock, "
        f"{caught.processor_rate / replayed.processor_rate:.2f} by processor; a snapshot is there "
        f"{restored.wall_rate / replayed.wall_rate:.0f} times as fast by the clock, "
        f"{restored.processor_rate / replayed.processor_rate:.0f} by processor"
    )


def _quiet(what: str, done: int, total: int) -> None:
    """Nobody follows this step by step."""


if __name__ == "__main__":
    main()
