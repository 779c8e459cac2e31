"""Measure catching up against a plain replay of the same blocks, and by a snapshot from the same peer.

    .venv/bin/python -m scripts.bench.catch_up [--blocks 400] [--transactions 50]     20,000 transactions
    .venv/bin/python -m scripts.bench.catch_up --blocks 20000                         a million
    .venv/bin/python -m scripts.bench.catch_up --blocks 20000 --chain DIR [--grow-only --seconds 300]
    .venv/bin/python -m scripts.bench.catch_up --blocks 20000 --chain DIR --snapshot

A chain is made on disk first. Then a full node that has it and an observer with an empty home run as
processes of their own, joined by libp2p over loopback; the time counts from the first look at which the
observer has a block to its tip. The replay (`drexnode replay`) reads the same blocks from its disk, verifies
every signature and executes them, in this process; the snapshot is made of the full node's state and
restored, with every check, into an empty home. With `--snapshot` the full node offers that snapshot, and an
observer that starts with `--sync snapshot` fetches, restores and follows: the time counts from its start as a
process to its tip, start-up included. `--chain DIR` keeps the chain: it is made once, in as many runs as its
maker likes, and only grows. Seconds of processor stand beside seconds of the clock: on a
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
from drexnode.config import NodeConfig, Value, load_config
from drexnode.home import create_home
from drexnode.processes import NodeProcess, start_process, stop_processes
from drexnode.replay import replay_chain
from drexnode.snapshot_keeper import SNAPSHOTS_FOLDER
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
            "sync.mode": "snapshot" if name == "snapshot" else "blocks",
        }
        role = "full" if name == "full" else "observer"
        create_home(folder / name, document, role, key(name).seed, None, settings)
        homes[name] = load_config(folder / name, environment={})
    return homes


async def grow(
    path: Path, document: GenesisDocument, blocks: int, transactions: int, seconds: float = float("inf")
) -> int:
    """Make the chain, or go on with it for so long; its height then."""
    until = time.monotonic() + seconds
    with open_finalizer(path, document) as finalizer:
        chain, said = Chain(finalizer, document), time.monotonic()
        begun = finalizer.head.height
        if begun:
            chain.take_up()
        for height in range(begun + 1, blocks + 1):
            if time.monotonic() > until:
                return height - 1
            await finalizer.finalize(*chain.build(chain.transfers(transactions)))
            if time.monotonic() > said + SAY_EVERY_S:
                said = time.monotonic()
                print(f"block {height} of {blocks} is made", flush=True)
    return blocks


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


def catch_up_by_snapshot(homes: dict[str, NodeConfig], blocks: int) -> Took:
    """From the start of a process with an empty home to its tip; the full node offers a snapshot."""
    full = start_process(homes["full"].home)
    try:
        await_height(homes["full"], full, blocks)
        begun = time.perf_counter()
        process = start_process(homes["snapshot"].home)
        try:
            ended = await_height(homes["snapshot"], process, blocks)
        finally:
            stop_processes([process])
    finally:
        stop_processes([full])
    return Took(blocks, ended[1] - begun, ended[2])


def await_height(config: NodeConfig, process: NodeProcess, height: int) -> tuple[int, float, float]:
    """Wait for a node's tip; its height, the clock and its processor seconds at that moment."""
    said = deadline = time.monotonic()
    deadline += START_TIMEOUT_S
    last = -1
    while True:
        try:
            with rpc.Client(f"http://127.0.0.1:{config.rpc.port}") as client:
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
    parser.add_argument("--chain", type=Path, help="keep the full node's home here, and use what lies there")
    parser.add_argument("--grow-only", action="store_true", help="make the chain and end")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="let the chain grow for so long")
    parser.add_argument("--snapshot", action="store_true", help="an observer catches up by snapshot")
    arguments = parser.parse_args()
    setup_logging("error")
    print(machine_line(), flush=True)
    with tempfile.TemporaryDirectory(prefix="drexnode-catch-up-") as text:
        _measure(Path(text), arguments)


def _measure(folder: Path, arguments: argparse.Namespace) -> None:
    blocks, transactions = arguments.blocks, arguments.transactions
    document = genesis_document(outputs=max(64, 2 * transactions))
    homes = make_homes(folder, document)
    if arguments.chain is not None:
        arguments.chain.mkdir(parents=True, exist_ok=True)
        homes["full"].data_path.rmdir()
        homes["full"].data_path.symlink_to(arguments.chain.absolute())
    made = trio.run(grow, homes["full"].data_path, document, blocks, transactions, arguments.seconds)
    if arguments.grow_only or made < blocks:
        print(f"the chain has {made} blocks")
        return
    caught = catch_up(homes, blocks)
    print(f"catching up: {caught.rate(transactions)}", flush=True)
    replayed = measured(blocks, lambda: replay_chain(homes["observer"], _quiet))
    print(f"plain replay: {replayed.rate(transactions)}", flush=True)
    if arguments.snapshot:
        state = homes["full"].data_path / SNAPSHOTS_FOLDER / str(blocks)
        if not state.exists():
            state.parent.mkdir(exist_ok=True)
            create_snapshot(homes["full"], state, _quiet)
        restored = catch_up_by_snapshot(homes, blocks)
    else:
        create_snapshot(homes["full"], folder / "state", _quiet)
        restored = measured(blocks, lambda: restore_home(homes["snapshot"], folder / "state", _quiet))
    print(f"by snapshot: {restored.wall_s:.2f} s, {restored.processor_s:.2f} s of processor")
    print(
        f"catching up has {caught.wall_rate / replayed.wall_rate:.2f} of the replay's pace by the clock, "
        f"{caught.processor_rate / replayed.processor_rate:.2f} by processor; a snapshot is there "
        f"{restored.wall_rate / replayed.wall_rate:.1f} times as fast by the clock, "
        f"{restored.processor_rate / replayed.processor_rate:.1f} by processor"
    )


def _quiet(what: str, done: int, total: int) -> None:
    """Nobody follows this step by step."""


if __name__ == "__main__":
    main()
