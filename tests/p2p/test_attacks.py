"""Attacks on a node in its own process: its memory stays bounded and an honest peer's votes keep coming back.

Each attack runs for seconds, not minutes; the bounds are those of issue-sized runs: < 100 MB of growth, and a
vote's round trip that stays far below a round's timeout.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from p2p.framing import frame
from p2p.host import Libp2pHost
from p2p.identity import PeerId, peer_id_from_seed
from p2p.libp2p_gossip import GOSSIP_PROTOCOL
from p2p.libp2p_upgrade import HandshakeFailed
from p2p.link import PROTOCOLS, REQUEST_PROTOCOL
from p2p.transport import Channel
from p2p.yamux import ChannelClosed
from p2p.yamux_stream import StreamClosed
from tests.p2p.support import until
from tests.p2p.test_host import VILLAIN, open_node
from tests.p2p.test_processes import CHILD, child_process, free_port
from tests.p2p.villains import noise_to, open_stream, session_to, socket_to, yamux_header

pytestmark = [pytest.mark.trio, pytest.mark.network]
SECONDS = 3.0
MAX_GROWTH_BYTES = 100 * 2**20
MAX_VOTE_S = 0.5


class Victim:
    """Another process's node, as a villain sees it: an address and a PeerId."""

    def __init__(self, port: int) -> None:
        self.peer_id: PeerId = CHILD
        self.listen_addresses = (f"/ip4/127.0.0.1/tcp/{port}",)
        self.extras = {GOSSIP_PROTOCOL: None}
        self.blows = 0


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_s(pid: int) -> float:
    """Seconds of processor a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def flood_connections(victim: Victim) -> None:
    """Strangers with fresh identities, as fast as they can."""
    for number in count():
        with suppress(HandshakeFailed, ChannelClosed, OSError):
            victim.blows += 1
            async with noise_to(victim, number.to_bytes(32, "big")) as pipe:
                await pipe.receive()


async def half_open(victim: Victim) -> None:
    """Sockets that say nothing."""
    async with trio.open_nursery() as nursery:

        async def hold() -> None:
            with suppress(OSError):
                async with socket_to(victim) as stream:
                    await stream.receive_some()

        while True:
            nursery.start_soon(hold)
            victim.blows += 1
            await trio.sleep(0.01)


async def flood_frames(victim: Victim) -> None:
    """A permitted peer that writes transactions without end, read by nobody there."""
    async with session_to(victim, VILLAIN) as session:
        stream = await open_stream(session, PROTOCOLS[Channel.TRANSACTIONS])
        with suppress(StreamClosed):
            while True:
                await stream.write(frame(bytes(65_536)))
                victim.blows += 1
                await trio.lowlevel.checkpoint()


async def flood_votes(victim: Victim) -> None:
    """A permitted peer that writes tiny consensus messages without end."""
    async with session_to(victim, VILLAIN) as session:
        stream = await open_stream(session, PROTOCOLS[Channel.CONSENSUS])
        many = frame(b"vote") * 1000
        with suppress(StreamClosed):
            while True:
                await stream.write(many)
                victim.blows += 1
                await trio.lowlevel.checkpoint()


async def flood_requests(victim: Victim) -> None:
    """A permitted peer that asks for the largest answer without end and reads none."""
    async with session_to(victim, VILLAIN) as session:
        stream = await open_stream(session, REQUEST_PROTOCOL)
        with suppress(StreamClosed):
            for number in count():
                body = b"\x00" + (number % 2**32).to_bytes(4, "big") + b"\x03big" + b"4194304"
                await stream.write(frame(body))
                victim.blows += 1
                await trio.sleep(0.0005)


async def flood_gossip(victim: Victim) -> None:
    """A permitted peer that writes gossip garbage, is cut off, and comes back until it is banned."""
    while True:
        with suppress(HandshakeFailed, ChannelClosed, StreamClosed, OSError, BaseExceptionGroup):
            async with session_to(victim, VILLAIN) as session:
                stream = await open_stream(session, GOSSIP_PROTOCOL)
                victim.blows += 1
                await stream.write(frame(bytes(900_000)))
                await stream.read()
        await trio.sleep(0.01)


async def violate_windows(victim: Victim) -> None:
    """A permitted peer that writes past its window, is cut off, and comes back until it is banned."""
    chunk = yamux_header(0, 0, 1, 60_000) + bytes(60_000)
    while True:
        with suppress(HandshakeFailed, ChannelClosed, OSError):
            async with noise_to(victim, VILLAIN) as pipe:
                victim.blows += 1
                await pipe.send(yamux_header(1, 1, 1, 0))
                for _ in range(100):
                    await pipe.send(chunk)
        await trio.sleep(0.01)


BANNED = (flood_gossip, violate_windows)
"""These end with the villain's ban, after a handful of blows."""


async def worst_vote(host: Libp2pHost, seconds: float) -> float:
    """The longest of the round trips of votes to the victim during `seconds`."""
    worst = 0.0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        started = time.perf_counter()
        assert host.send(CHILD, Channel.CONSENSUS, b"honest")
        with trio.fail_after(5):
            while not any(m.payload == b"honest" for m in await host.inbox(Channel.CONSENSUS).receive()):
                pass
        worst = max(worst, time.perf_counter() - started)
        await trio.sleep(0.02)
    return worst


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        flood_connections,
        half_open,
        flood_frames,
        flood_votes,
        flood_requests,
        flood_gossip,
        violate_windows,
    ],
)
async def test_attack_costs_bounded_memory_and_stalls_nobody(
    attack: Callable[[Victim], Awaitable[None]], record_property: Callable[[str, object], None]
) -> None:
    port = free_port()
    async with open_node() as host, child_process(host, port, peer_id_from_seed(VILLAIN)) as process:
        host.set_permitted({CHILD: ()})
        await until(lambda: host.is_connected(CHILD), 20)
        await worst_vote(host, 0.5)
        before, used_s = resident_bytes(process.pid), processor_s(process.pid)
        async with trio.open_nursery() as nursery:
            victim = Victim(port)
            nursery.start_soon(attack, victim)
            worst_s = await worst_vote(host, SECONDS)
            growth = resident_bytes(process.pid) - before
            share = (processor_s(process.pid) - used_s) / SECONDS
            nursery.cancel_scope.cancel()
        record_property("growth_bytes", growth)
        record_property("worst_vote_ms", round(worst_s * 1000, 1))
        print(f"{victim.blows} blows of {attack.__name__}: {growth / 2**20:.1f} MiB, {share:.0%} of a core,")
        print(f"    worst vote {worst_s * 1000:.1f} ms")
        assert victim.blows >= (5 if attack in BANNED else 50)
        assert growth < MAX_GROWTH_BYTES
        assert worst_s < MAX_VOTE_S
        assert host.is_connected(CHILD)
