"""Measure catching up and following: transactions a second, and how soon a follower has a new block.

    .venv/bin/python -m scripts.bench.sync [--blocks 20] [--transactions 1000] [--heads 20] [--libp2p]

One process holds both nodes: a full node that serves a chain of transfers, and an observer that starts empty,
so the figures are for the work of two nodes on one core, with real stores and (with --libp2p) real sockets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio

from drexnode.telemetry import setup_logging
from drexnode.wire import Role
from ledger.genesis_records import GenesisDocument
from p2p.host import open_host
from p2p.linked import LinkedTransport
from p2p.memory import MemoryNetwork
from tests.drexnode.chain import Chain, genesis_document, key, open_finalizer
from tests.drexnode.follower import Follower, connect, make_follower

OpenHost = Callable[[str], AbstractAsyncContextManager[LinkedTransport]]


@asynccontextmanager
async def open_node(
    opening: OpenHost, name: str, path: Path, document: GenesisDocument, role: Role
) -> AsyncIterator[Follower]:
    """A node without consensus, running."""
    with open_finalizer(path, document) as finalizer:
        async with opening(name) as host, trio.open_nursery() as nursery:
            node = make_follower(host, finalizer, role=role)
            node.server.register(host)
            node.heads.subscribe()
            nursery.start_soon(node.run)
            yield node
            nursery.cancel_scope.cancel()


def hosts(libp2p: bool) -> OpenHost:
    """How hosts of this run are opened."""
    memory = MemoryNetwork()

    def opening(name: str) -> AbstractAsyncContextManager[LinkedTransport]:
        seed = key(name).seed
        if libp2p:
            return open_host(seed=seed, network="bench", listen=("/ip4/127.0.0.1/tcp/0",))
        return memory.open_host(seed)

    return opening


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Build the chain, catch up, then follow."""
    document = genesis_document(outputs=max(64, 2 * arguments.transactions))
    opening = hosts(arguments.libp2p)
    async with (
        open_node(opening, "full", folder / "full", document, "full") as full,
        open_node(opening, "observer", folder / "observer", document, "observer") as observer,
    ):
        chain = Chain(full.finalizer, document)
        await chain.grow(arguments.blocks, arguments.transactions)
        await connect(full.host, observer.host)
        await catch_up(observer, arguments.blocks, arguments.transactions)
        await follow(chain, full, observer, arguments.heads)


async def catch_up(observer: Follower, blocks: int, transactions: int) -> None:
    """Print how fast `observer` gets there."""
    wall, processor = time.perf_counter(), time.process_time()
    await observer.finalizer.wait_height(blocks)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    total = blocks * transactions
    print(f"catching up: {total / wall:,.0f} tx/s, {blocks / wall:,.0f} blocks/s")
    print(f"processor time of both nodes: {processor / total * 1e6:.0f} µs a transaction")


async def follow(chain: Chain, full: Follower, observer: Follower, heads: int) -> None:
    """Print the time from a block being final at one node to it being final at the other."""
    delays_ms: list[float] = []
    for _ in range(heads):
        block, executed = chain.build(chain.transfers(5))
        await full.finalizer.finalize(block, executed)
        begin = time.perf_counter()
        await observer.finalizer.wait_height(block.height)
        delays_ms.append((time.perf_counter() - begin) * 1000)
        await trio.sleep(0.35)
    delays_ms.sort()
    print(f"following: median {delays_ms[len(delays_ms) // 2]:.1f} ms, slowest {delays_ms[-1]:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--transactions", type=int, default=1000)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--libp2p", action="store_true")
    arguments = parser.parse_args()
    setup_logging("error")
    with tempfile.TemporaryDirectory() as folder:
        trio.run(measure, arguments, Path(folder))


if __name__ == "__main__":
    main()
