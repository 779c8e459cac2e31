"""Small networks for tests: the same over libp2p on loopback and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from p2p.host import open_host
from p2p.identity import PeerId
from p2p.linked import LinkedTransport
from p2p.memory import MemoryNetwork
from p2p.transport import Channel, Message, Topic, Transport

KINDS = ("libp2p", "memory")
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)
NETWORK = "test"


def seed(number: int) -> bytes:
    """The identity of test node `number`."""
    return bytes([number + 1]) * 32


def as_transport(host: LinkedTransport) -> Transport:
    """For mypy: what we open is what the node uses."""
    return host


@asynccontextmanager
async def open_nodes(kind: str, count: int) -> AsyncIterator[list[LinkedTransport]]:
    """Nodes that don't know each other yet."""
    memory = MemoryNetwork()
    async with AsyncExitStack() as stack:
        hosts: list[LinkedTransport] = []
        for number in range(count):
            opening = (
                memory.open_host(seed(number))
                if kind == "memory"
                else open_host(seed=seed(number), network=NETWORK, listen=LOOPBACK)
            )
            hosts.append(await stack.enter_async_context(opening))
        yield hosts


def permit_all(hosts: Sequence[LinkedTransport]) -> None:
    for host in hosts:
        host.set_permitted({other.peer_id: other.listen_addresses for other in hosts if other is not host})


def connect_all(hosts: Sequence[LinkedTransport]) -> None:
    for host in hosts:
        for other in hosts:
            if other is not host:
                host.add_persistent(other.peer_id)


@asynccontextmanager
async def open_mesh(kind: str, count: int) -> AsyncIterator[list[LinkedTransport]]:
    """Nodes, each permitted by, persistent with and connected to every other."""
    async with open_nodes(kind, count) as hosts:
        permit_all(hosts)
        connect_all(hosts)
        for host in hosts:
            await until(lambda host=host: len(host.peers()) == count - 1)  # type: ignore[misc]
        yield hosts


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something to become true, or fail."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event of its own
            await trio.sleep(0.01)


async def receive(host: LinkedTransport, source: Channel | Topic, count: int = 1) -> list[Message]:
    """Exactly `count` messages of one inbox."""
    messages: list[Message] = []
    with trio.fail_after(10):
        while len(messages) < count:
            messages += await host.inbox(source).receive()
    assert len(messages) == count
    return messages


def permit(host: LinkedTransport, *peers: PeerId) -> None:
    host.set_permitted(dict.fromkeys(peers, ()))
