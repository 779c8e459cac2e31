"""The way to a peer ends at the stage that is in the way, and says so."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from p2p.host import open_host
from p2p.identity import peer_id_from_seed
from p2p.transport import DisconnectReason, ProbeStage, ProbeStep
from primitives.errors import DecodeError
from tests.p2p.support import KINDS, LOOPBACK, NETWORK, open_mesh, open_nodes, permit_all, seed, until

STAGES = list(ProbeStage)


def ends_at(steps: list[ProbeStep], stage: ProbeStage) -> str:
    """The detail of the failed last step; every stage before it was passed."""
    assert [step.stage for step in steps] == STAGES[: STAGES.index(stage) + 1]
    assert [step.ok for step in steps] == [True] * (len(steps) - 1) + [False]
    return steps[-1].detail


@pytest.mark.parametrize("kind", KINDS)
async def test_the_whole_way_ends_with_a_connection(kind: str) -> None:
    async with open_nodes(kind, 2) as (one, two):
        await trio.testing.wait_all_tasks_blocked()
        permit_all((one, two))
        steps = await one.probe(two.listen_addresses[0])
        assert [step.stage for step in steps] == STAGES
        assert all(step.ok for step in steps)
        await until(lambda: one.is_connected(two.peer_id) and two.is_connected(one.peer_id))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_peer_that_is_connected_keeps_its_connection(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, two):
        [before] = one.peers()
        assert all(step.ok for step in await one.probe(two.listen_addresses[0]))
        [after] = one.peers()
        assert after.connected_since_ms == before.connected_since_ms
        assert two.counters().disconnects == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_permission_fails_on_the_side_that_withholds_it(kind: str) -> None:
    async with open_nodes(kind, 2) as (one, two):
        await trio.testing.wait_all_tasks_blocked()
        one.set_permitted({two.peer_id: ()})
        theirs = ends_at(await one.probe(two.listen_addresses[0]), ProbeStage.PERMISSION)
        assert "does not admit this node" in theirs
        assert one.counters().dial_failures == {}  # a test is no dial
        assert two.counters().refused_connections == {"not_permitted": 1}


async def test_own_refusals_are_told_apart() -> None:
    async with open_nodes("libp2p", 2) as (one, two):
        two.set_permitted({one.peer_id: ()})
        assert "not registered" in ends_at(await one.probe(two.listen_addresses[0]), ProbeStage.PERMISSION)
        one.set_permitted({two.peer_id: ()})
        one.ban(two.peer_id, 60_000, "by a test")
        assert "has banned it" in ends_at(await one.probe(two.listen_addresses[0]), ProbeStage.PERMISSION)


@pytest.mark.parametrize("kind", KINDS)
async def test_another_peer_at_the_address_fails_the_identity(kind: str) -> None:
    async with open_nodes(kind, 2) as (one, two):
        await trio.testing.wait_all_tasks_blocked()
        permit_all((one, two))
        wrong = two.listen_addresses[0].rsplit("/", 1)[0] + f"/{peer_id_from_seed(seed(9))}"
        assert "another peer" in ends_at(await one.probe(wrong), ProbeStage.IDENTITY)


async def test_what_is_not_libp2p_fails_noise_and_a_closed_port_tcp() -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with (
        open_host(seed=seed(0), network=NETWORK, listen=LOOPBACK) as host,
        trio.open_nursery() as nursery,
    ):
        serve = partial(trio.serve_tcp, host="127.0.0.1")
        [listener] = await nursery.start(serve, talk, 0)
        port, peer = listener.socket.getsockname()[1], peer_id_from_seed(seed(1))
        host.set_permitted({peer: ()})
        address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"
        ends_at(await host.probe(address), ProbeStage.NOISE)
        nursery.cancel_scope.cancel()
    async with open_host(seed=seed(0), network=NETWORK, listen=()) as host:
        host.set_permitted({peer: ()})
        assert "nobody listens" in ends_at(await host.probe(address), ProbeStage.TCP)
        with pytest.raises(DecodeError, match="who should answer"):
            await host.probe("/ip4/127.0.0.1/tcp/1")


async def test_a_peer_that_does_not_admit_this_node_is_said_once_and_counted() -> None:
    async with open_nodes("libp2p", 2) as (one, two):
        one.set_permitted({two.peer_id: two.listen_addresses})
        one.add_persistent(two.peer_id)
        await until(lambda: one.counters().dial_failures.get("not_admitted", 0) >= 2)
        two.set_permitted({one.peer_id: ()})
        await until(lambda: one.is_connected(two.peer_id))
        two.set_permitted({})
        await until(lambda: two.counters().disconnects == {DisconnectReason.NOT_PERMITTED.value: 1})
