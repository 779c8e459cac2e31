"""What the network costs on this machine: `python -m scripts.bench.p2p [--seconds 3]`.

Two processes over loopback for latency and throughput; four for consensus-like votes; then the processor time
of gossip and of doing nothing. Prints a table; docs/performance.md keeps a run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from p2p.host import Libp2pHost, open_host
from p2p.identity import PeerId, peer_id_from_seed
from p2p.transport import Channel, Topic, Verdict

NETWORK = "bench"
VOTE_BYTES = 200
BATCH_BYTES = 64 * 1024
GOSSIP_BYTES = 32 * 1024


def seed(number: int) -> bytes:
    return bytes([number + 1]) * 32


def accept(peer: PeerId, payload: bytes) -> Verdict:
    return Verdict.ACCEPT


async def processor_time(peer: PeerId, payload: bytes) -> bytes:
    """Nanoseconds this process has used, for whoever measures."""
    return b"%d" % time.process_time_ns()


@asynccontextmanager
async def open_node(number: int, ids: list[PeerId]) -> AsyncIterator[Libp2pHost]:
    async with open_host(seed=seed(number), network=NETWORK, listen=["/ip4/127.0.0.1/tcp/0"]) as host:
        host.set_permitted({peer: () for peer in ids if peer != host.peer_id})
        host.register_handler("processor_time", processor_time)
        host.subscribe(Topic.TRANSACTIONS, accept)
        yield host


# --- the other processes


async def mirror(number: int, count: int, addresses: list[str]) -> None:
    """Send consensus messages back, swallow the rest."""
    ids = [peer_id_from_seed(seed(other)) for other in range(count)]
    async with open_node(number, ids) as host:
        for address in addresses:
            host.add_persistent(PeerId(address.rsplit("/", 1)[1]), [address])
        print(host.listen_addresses[0], flush=True)
        async with trio.open_nursery() as nursery:
            for source in (Channel.TRANSACTIONS, Topic.TRANSACTIONS):
                nursery.start_soon(swallow, host, source)
            while True:
                for message in await host.inbox(Channel.CONSENSUS).receive():
                    host.send(message.peer, Channel.CONSENSUS, message.payload)


async def swallow(host: Libp2pHost, source: Channel | Topic) -> None:
    """Acknowledge every hundredth transaction batch, so that the sender can measure."""
    taken = 0
    while True:
        for message in await host.inbox(source).receive():
            taken += 1
            if source is Channel.TRANSACTIONS and taken % 100 == 0:
                host.send(message.peer, Channel.BLOCKS, b"%d" % taken)


# --- the measuring process


@asynccontextmanager
async def open_cluster(count: int) -> AsyncIterator[tuple[Libp2pHost, list[PeerId]]]:
    """This process is node 0; the others run in theirs."""
    ids = [peer_id_from_seed(seed(number)) for number in range(count)]
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(open_node(0, ids))
        addresses = [host.listen_addresses[0]]
        children: list[subprocess.Popen[str]] = []
        try:
            for number in range(1, count):
                command = [sys.executable, "-m", "scripts.bench.p2p", "--mirror", str(number), str(count)]
                command += addresses
                child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - quick
                children.append(child)
                assert child.stdout is not None
                addresses.append(await trio.to_thread.run_sync(read_line, child))
            with trio.fail_after(20):
                while len(host.peers()) < count - 1:
                    await host.events.receive()
            yield host, ids[1:]
        finally:
            for child in children:
                child.kill()
                child.wait()


def read_line(child: subprocess.Popen[str]) -> str:
    """The next line that is an address (a child may log too)."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("/ip"):
            return line.strip()
    raise RuntimeError("the other process ended")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def round_trips(host: Libp2pHost, peers: list[PeerId], seconds: float, needed: int) -> list[float]:
    """Seconds from sending a vote to all until `needed` came back, again and again."""
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < deadline:
        number += 1
        payload = b"%d" % number + bytes(VOTE_BYTES)
        started = time.perf_counter()
        host.broadcast(peers, Channel.CONSENSUS, payload)
        back = 0
        while back < needed:
            arrived = await host.inbox(Channel.CONSENSUS).receive()
            back += sum(message.payload == payload for message in arrived)
        times.append(time.perf_counter() - started)
    return times


async def throughput(host: Libp2pHost, peer: PeerId, seconds: float) -> float:
    """Bytes a second in 64 KiB frames that the other process took out of its inbox."""
    sent = done = 0
    started = time.perf_counter()
    payload = bytes(BATCH_BYTES)
    while time.perf_counter() - started < seconds:
        while sent - done < 400 and host.send(peer, Channel.TRANSACTIONS, payload):
            sent += 1
        for message in await host.inbox(Channel.BLOCKS).receive():
            done = int(message.payload)
    return done * BATCH_BYTES / (time.perf_counter() - started)


async def votes_under_load(host: Libp2pHost, peers: list[PeerId], seconds: float) -> list[float]:
    """Round trips of votes while batches flow to one of the peers without pause."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(throughput, host, peers[0], 10 * seconds)
        times = await round_trips(host, peers, seconds, needed=len(peers))
        nursery.cancel_scope.cancel()
    return times


async def used_ms(host: Libp2pHost, peer: PeerId) -> float:
    answer = await host.request(peer, "processor_time", b"", timeout_s=5, max_response_bytes=100)
    return int(answer) / 1e6


async def gossip_cost(host: Libp2pHost, peer: PeerId, count: int = 200) -> tuple[float, float]:
    """Milliseconds of processor a message: at its publisher, at a receiver."""
    await trio.sleep(2)  # the mesh forms
    ours, theirs = time.process_time(), await used_ms(host, peer)
    for _ in range(count):
        host.publish(Topic.TRANSACTIONS, bytes(GOSSIP_BYTES))
        await trio.sleep(0.005)
    await trio.sleep(0.5)
    return (time.process_time() - ours) * 1e3 / count, (await used_ms(host, peer) - theirs) / count


async def direct_cost(host: Libp2pHost, peer: PeerId, count: int = 500) -> tuple[float, float]:
    """The same for a direct frame of the same size."""
    ours, theirs = time.process_time(), await used_ms(host, peer)
    for _ in range(count):
        host.send(peer, Channel.TRANSACTIONS, bytes(GOSSIP_BYTES))
        await trio.sleep(0.002)
    await trio.sleep(0.3)
    return (time.process_time() - ours) * 1e3 / count, (await used_ms(host, peer) - theirs) / count


async def idle_cost(host: Libp2pHost, peer: PeerId, seconds: float) -> float:
    """Share of a core that a node with three peers uses to do nothing."""
    before = await used_ms(host, peer)
    await trio.sleep(seconds)
    return (await used_ms(host, peer) - before) / seconds / 1e3


def row(name: str, value: str) -> None:
    print(f"{name:<58} {value}")


def latency(times: list[float]) -> str:
    return f"p50 {percentile(times, 0.5) * 1e3:.2f} ms, p99 {percentile(times, 0.99) * 1e3:.2f} ms"


async def measure(seconds: float) -> None:
    async with open_cluster(2) as (host, peers):
        times = await round_trips(host, peers, seconds, needed=1)
        row("direct stream, 200 B there and back, two processes", latency(times))
        row(
            "64 KiB frames, one peer to another",
            f"{await throughput(host, peers[0], seconds) / 1e6:.0f} MB/s",
        )
    async with open_cluster(4) as (host, peers):
        times = await round_trips(host, peers, seconds, needed=2)
        row("vote to three processes until two answered", latency(times))
        times = await votes_under_load(host, peers, seconds)
        row("vote to three until all answered, batches at full speed", latency(times))
        publisher, receiver = await direct_cost(host, peers[1])
        row("32 KiB direct frame, processor", f"sender {publisher:.2f} ms, receiver {receiver:.2f} ms")
        publisher, receiver = await gossip_cost(host, peers[1])
        row("32 KiB gossip message, processor", f"publisher {publisher:.2f} ms, receiver {receiver:.2f} ms")
        row(
            "doing nothing, three peers",
            f"{await idle_cost(host, peers[2], 2 * seconds) * 100:.2f} % of a core",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--mirror", nargs="+", metavar=("NUMBER", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.mirror:
        number, count, *addresses = arguments.mirror
        trio.run(mirror, int(number), int(count), addresses)
    else:
        trio.run(measure, arguments.seconds)


if __name__ == "__main__":
    main()
