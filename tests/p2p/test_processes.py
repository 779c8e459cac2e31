"""Nodes in processes of their own, over loopback: killed, stopped and started again."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from p2p.host import Libp2pHost
from p2p.identity import PeerId, peer_id_from_seed
from p2p.transport import Channel, DisconnectReason, PeerEventKind, Topic, Verdict
from primitives.limits import MAX_RESPONSE_BYTES, PING_INTERVAL_SECONDS, PING_MISSES
from tests.p2p.support import receive, seed, until
from tests.p2p.test_host import open_node

pytestmark = [pytest.mark.trio, pytest.mark.network]
ROOT = Path(__file__).parents[2]
CHILD = peer_id_from_seed(seed(1))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def child_process(host: Libp2pHost, port: int, *permitted: PeerId) -> AsyncIterator[trio.Process]:
    """Node 1 in its own process, which dials `host`. Killed at the end."""
    command = [sys.executable, "-m", "tests.p2p.peer_process", "1", str(port)]
    arguments = [host.peer_id, host.listen_addresses[0], *permitted]
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, [*command, *arguments], cwd=ROOT, check=False)
        process: trio.Process = await nursery.start(start)
        try:
            yield process
        finally:
            process.kill()
            nursery.cancel_scope.cancel()


async def lost(host: Libp2pHost) -> DisconnectReason | None:
    with trio.fail_after(30):
        while True:
            for event in await host.events.receive():
                if event.kind is PeerEventKind.DISCONNECTED:
                    return event.reason


async def echoes(host: Libp2pHost, payload: bytes) -> bool:
    assert host.send(CHILD, Channel.CONSENSUS, payload)
    return (await receive(host, Channel.CONSENSUS))[0].payload == payload


async def test_messages_requests_and_gossip_pass_between_processes() -> None:
    async with open_node() as host:
        host.set_permitted({CHILD: ()})
        host.subscribe(Topic.HEADS, lambda peer, payload: Verdict.ACCEPT)
        async with child_process(host, free_port()):
            await until(lambda: host.is_connected(CHILD), 20)
            assert await echoes(host, b"vote")
            answer = await host.request(
                CHILD, "big", b"%d" % MAX_RESPONSE_BYTES, timeout_s=10, max_response_bytes=MAX_RESPONSE_BYTES
            )
            assert answer == b"x" * MAX_RESPONSE_BYTES


async def test_killed_peer_is_noticed_at_once_and_met_again_after_its_restart() -> None:
    port = free_port()
    async with open_node() as host:
        host.set_permitted({CHILD: [f"/ip4/127.0.0.1/tcp/{port}"]})
        host.add_persistent(CHILD)
        for life in range(2):
            async with child_process(host, port) as process:
                await until(lambda: host.is_connected(CHILD), 20)
                assert await echoes(host, b"life %d" % life)
                killed = trio.current_time()
                process.send_signal(signal.SIGKILL)
                assert await lost(host) is DisconnectReason.CLOSED_BY_PEER
                assert trio.current_time() - killed < 1


async def test_stopped_peer_is_noticed_by_its_pings_and_met_again_when_it_goes_on() -> None:
    async with open_node() as host:
        host.set_permitted({CHILD: ()})
        async with child_process(host, free_port()) as process:
            await until(lambda: host.is_connected(CHILD), 20)
            stopped = trio.current_time()
            process.send_signal(signal.SIGSTOP)
            assert await lost(host) is DisconnectReason.UNRESPONSIVE
            assert trio.current_time() - stopped < PING_INTERVAL_SECONDS * (PING_MISSES + 2)
            process.send_signal(signal.SIGCONT)
            await until(lambda: host.is_connected(CHILD), 20)
            assert await echoes(host, b"awake")


async def test_stopped_peer_does_not_block_its_disconnection() -> None:
    async with open_node() as host:
        host.set_permitted({CHILD: ()})
        async with child_process(host, free_port()) as process:
            await until(lambda: host.is_connected(CHILD), 20)
            process.send_signal(signal.SIGSTOP)
            while host.send(CHILD, Channel.TRANSACTIONS, bytes(2**16)):
                await trio.lowlevel.checkpoint()
            await trio.sleep(0.2)  # the writer is stuck in the socket now
            started = trio.current_time()
            host.disconnect(CHILD)
            assert await lost(host) is DisconnectReason.REQUESTED
            assert trio.current_time() - started < 0.5
