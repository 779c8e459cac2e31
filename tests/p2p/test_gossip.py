"""Gossip over libp2p's router: each of its defaults that loses, doubles or keeps messages is out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.tools.anyio_service import background_trio_service

from p2p.framing import frame
from p2p.host import Libp2pHost, open_host
from p2p.identity import peer_id_from_seed
from p2p.libp2p_gossip import GOSSIP_PROTOCOL, GossipHost, GossipService, _Pubsub, _Router, topic_name
from p2p.libp2p_streams import Connection, Multistream
from p2p.linked import LinkedTransport
from p2p.transport import PeerId, Topic, Verdict
from primitives.errors import InvariantViolation
from primitives.limits import GOSSIP_MAX_BYTES, GOSSIP_PUBLISH_QUEUE
from tests.p2p.support import (
    LOOPBACK,
    NETWORK,
    open_mesh,
    open_nodes,
    permit,
    permit_all,
    receive,
    seed,
    until,
)
from tests.p2p.test_host import VILLAIN, VILLAIN_ID, open_node, still_serves
from tests.p2p.test_transport import accept_all, gossip_ready
from tests.p2p.villains import open_stream, session_to

pytestmark = pytest.mark.trio


def router_of(host: LinkedTransport) -> Any:
    assert isinstance(host.gossip, GossipService)
    assert host.gossip.router is not None
    return host.gossip.router


async def test_only_version_1_1_is_spoken() -> None:
    assert GOSSIP_PROTOCOL == "/meshsub/1.1.0"
    async with open_node() as host:
        assert [name for name in host.extras if "meshsub" in name] == ["/meshsub/1.1.0"]


async def test_largest_message_passes() -> None:
    """The library drops RPCs over 1,048,000 bytes without a word; ours can't grow so large."""
    async with open_mesh("libp2p", 2) as hosts:
        accept_all(hosts, Topic.TRANSACTIONS)
        await gossip_ready(hosts, Topic.TRANSACTIONS)
        assert hosts[0].publish(Topic.TRANSACTIONS, bytes(GOSSIP_MAX_BYTES))
        (message,) = await receive(hosts[1], Topic.TRANSACTIONS)
        assert len(message.payload) == GOSSIP_MAX_BYTES


async def test_hundreds_of_messages_a_second_arrive() -> None:
    """The library's spam guard lets ten a second through and drops the rest without a word."""
    async with open_mesh("libp2p", 2) as hosts:
        accept_all(hosts, Topic.HEADS)
        await gossip_ready(hosts, Topic.HEADS)
        started = trio.current_time()
        for number in range(200):
            assert hosts[0].publish(Topic.HEADS, b"%d" % number)
        messages = await receive(hosts[1], Topic.HEADS, 200)
        assert sorted(int(message.payload) for message in messages) == list(range(200))
        assert trio.current_time() - started < 5


async def test_nothing_is_kept_for_each_message() -> None:
    async with open_mesh("libp2p", 2) as hosts:
        accept_all(hosts, Topic.HEADS)
        await gossip_ready(hosts, Topic.HEADS)
        for number in range(300):
            hosts[0].publish(Topic.HEADS, b"%d" % number + bytes(1000))
            await receive(hosts[1], Topic.HEADS)
        await trio.sleep(4.5)  # the message cache is three heartbeats long
        for host in hosts:
            router = router_of(host)
            assert router.equivocation_detection == {}
            assert router.recent_message_deliveries == {}
            assert not router._pending_messages
            assert len(router.mcache.msgs) == 0
            assert router.heartbeat_interval == 1


async def test_node_that_restarts_at_once_is_heard() -> None:
    """The library numbers messages from the clock's seconds: a busy node that restarts repeats its numbers,
    and is taken for an echo of itself."""
    async with open_node(0) as one:
        accept_all([one], Topic.HEADS)
        for life in range(2):
            async with open_host(seed=seed(1), network=NETWORK, listen=LOOPBACK) as other:
                permit_all([one, other])
                other.add_persistent(one.peer_id)
                await until(lambda other=other: one.is_connected(other.peer_id))  # type: ignore[misc]
                accept_all([other], Topic.HEADS)
                await trio.sleep(2.5)  # two heartbeats: the mesh is formed, and no number was used on the way
                for number in range(50):
                    other.publish(Topic.HEADS, b"life %d number %d" % (life, number))
                await receive(one, Topic.HEADS, 50)
            await until(lambda: one.peers() == ())


async def test_networks_of_different_names_do_not_mix() -> None:
    async with open_node(0) as one, open_host(seed=seed(1), network="other", listen=LOOPBACK) as other:
        permit_all([one, other])
        one.add_persistent(other.peer_id)
        await until(lambda: one.is_connected(other.peer_id))
        accept_all([one, other], Topic.HEADS)
        await trio.sleep(0.3)
        one.publish(Topic.HEADS, b"head")
        await trio.sleep(1.5)
        assert other.inbox(Topic.HEADS).receive_nowait() == []


async def test_node_without_a_topic_neither_gets_nor_holds_its_messages() -> None:
    async with open_mesh("libp2p", 2) as (one, observer):
        accept_all([one, observer], Topic.HEADS)
        accept_all([one], Topic.TRANSACTIONS)
        await gossip_ready([one, observer], Topic.HEADS)
        before = observer.counters().messages_by_channel.get(("gossip", "in"), 0)
        for _ in range(20):
            one.publish(Topic.TRANSACTIONS, bytes(10_000))
        await trio.sleep(1.5)
        assert observer.counters().messages_by_channel.get(("gossip", "in"), 0) == before
        assert not router_of(one)._pending_messages


async def test_publish_queue_is_bounded() -> None:
    async with open_nodes("libp2p", 1) as (one,):
        accept_all([one], Topic.HEADS)
        taken = [one.publish(Topic.HEADS, b"x") for _ in range(GOSSIP_PUBLISH_QUEUE + 5)]
        assert taken == [True] * GOSSIP_PUBLISH_QUEUE + [False] * 5
        assert one.counters().gossip["heads", "dropped"] == 5


# --- hostile


def rpc(**fields: Any) -> bytes:
    return bytes(rpc_pb2.RPC(**fields).SerializeToString())


async def attacked(host: Libp2pHost, data: bytes) -> None:
    """Write raw bytes to the gossip stream of a permitted villain, and see that the node goes on."""
    permit(host, VILLAIN_ID)
    accept_all([host], Topic.HEADS)
    async with session_to(host, VILLAIN) as session:
        await until(lambda: host.is_connected(VILLAIN_ID))
        stream = await open_stream(session, GOSSIP_PROTOCOL)
        router = router_of(host)
        stream.write_nowait(data)
        await trio.sleep(0.3)
    assert await still_serves(host)
    assert router_of(host) is router  # the service was not even restarted
    assert router.pubsub.manager.is_running


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 20,
        frame(b"\xff" * 20),
        frame(b""),
        b"\xff\xff\xff\xff\x0f",
        frame(rpc(publish=[rpc_pb2.Message(data=b"x", topicIDs=[topic_name(NETWORK, Topic.HEADS)])])),
        frame(
            rpc(
                publish=[
                    rpc_pb2.Message(
                        data=b"x",
                        topicIDs=[topic_name(NETWORK, Topic.HEADS)],
                        from_id=b"\x00\x24\x08\x01\x12\x20" + bytes(32),
                        seqno=bytes(8),
                        key=b"junk",
                        signature=bytes(64),
                    )
                ]
            )
        ),
        frame(
            rpc(
                publish=[
                    rpc_pb2.Message(
                        data=b"x",
                        topicIDs=[topic_name(NETWORK, Topic.HEADS)],
                        from_id=b"\x12\x20" + bytes(32),
                        key=b"\xff\xff",
                        signature=b"s",
                    )
                ]
            )
        ),
        frame(rpc(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=str(n)) for n in range(1000)])),
        frame(
            rpc(
                control=rpc_pb2.ControlMessage(
                    ihave=[
                        rpc_pb2.ControlIHave(
                            topicID=topic_name(NETWORK, Topic.HEADS), messageIDs=[b"x"] * 5000
                        )
                    ],
                    graft=[rpc_pb2.ControlGraft(topicID="none")] * 100,
                )
            )
        ),
    ],
)
async def test_hostile_gossip_never_hurts_and_is_never_delivered(data: bytes) -> None:
    async with open_node() as host:
        await attacked(host, data)
        assert host.inbox(Topic.HEADS).receive_nowait() == []


async def test_unsigned_message_is_not_delivered() -> None:
    async with open_node() as host:
        message = rpc_pb2.Message(
            data=b"forged",
            topicIDs=[topic_name(NETWORK, Topic.HEADS)],
            from_id=b"\x00\x24\x08\x01\x12\x20" + bytes(32),
            seqno=bytes(8),
        )
        await attacked(host, frame(rpc(publish=[message])))
        assert host.counters().gossip == {}


async def test_heartbeat_that_breaks_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_mesh("libp2p", 2) as hosts:
        accept_all(hosts, Topic.HEADS)
        router = router_of(hosts[0])
        beats: list[str] = []

        def beat() -> None:
            beats.append("broken" if not beats else "whole")
            assert beats[-1] == "whole"

        monkeypatch.setattr(router, "_prune_idontwant_entries", beat)  # a part of every heartbeat
        await until(lambda: len(beats) >= 3)
        assert router_of(hosts[0]) is router
        await gossip_ready(hosts, Topic.HEADS)


async def test_service_that_breaks_is_replaced_and_gossip_goes_on() -> None:
    async with open_mesh("libp2p", 2) as hosts:
        accept_all(hosts, Topic.HEADS)
        await gossip_ready(hosts, Topic.HEADS)
        broken = router_of(hosts[0])
        broken.pubsub.manager.cancel()
        await until(lambda: router_of(hosts[0]) is not broken)
        await until(lambda: all(len(host.peers()) == 1 for host in hosts))
        await gossip_ready(hosts, Topic.HEADS)


async def test_broken_promise_met_in_a_validator_stops_the_node() -> None:
    def broken(peer: PeerId, payload: bytes) -> Verdict:
        raise InvariantViolation("BROKEN", "the mempool disagrees with itself")

    with pytest.RaisesGroup(InvariantViolation, flatten_subgroups=True):
        async with open_mesh("libp2p", 2) as (one, other):
            one.subscribe(Topic.HEADS, broken)
            accept_all([other], Topic.HEADS)
            for number in range(100):
                other.publish(Topic.HEADS, b"%d" % number)
                await trio.sleep(0.1)


# --- peers that come and go while they are registered


class Quiet:
    """A stream that takes everything."""

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    def get_protocol(self) -> str:
        return GOSSIP_PROTOCOL


@asynccontextmanager
async def registrar(meanwhile: Callable[[GossipHost], None]) -> AsyncIterator[tuple[_Pubsub, ID]]:
    """A service that one peer is connected to, whose streams take a while; `meanwhile` happens then."""
    host = GossipHost(bytes(32), lambda peer: None, Multistream())
    peer = peer_id_from_seed(bytes([1]) * 32)
    connection = Connection(peer)
    host.network.connections[connection.muxed_conn.peer_id] = connection

    async def new_stream(peer_id: ID, protocols: object) -> Quiet:
        await trio.sleep(0.01)
        meanwhile(host)
        return Quiet()

    host.new_stream = new_stream  # type: ignore[method-assign,assignment]
    router = _Router()
    pubsub = _Pubsub(host, router, strict_signing=True)
    async with background_trio_service(pubsub), background_trio_service(router):
        await pubsub.wait_until_ready()
        yield pubsub, connection.muxed_conn.peer_id


def sending_tasks() -> int:
    """How many tasks wait for something to send to a peer."""
    waiting, found = [trio.lowlevel.current_root_task()], 0
    while waiting:
        task = waiting.pop()
        assert task is not None
        found += "handle_sending_messages" in task.name
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def test_peer_that_comes_back_while_it_is_registered_has_one_sending_task() -> None:
    async with registrar(lambda host: None) as (pubsub, peer):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(pubsub._handle_new_peer, peer)
        await trio.sleep(0.05)
        assert list(pubsub.peers) == [peer]
        assert sending_tasks() == 1


async def test_peer_that_goes_while_it_is_registered_leaves_no_task() -> None:
    async with registrar(lambda host: host.network.connections.clear()) as (pubsub, peer):
        await pubsub._handle_new_peer(peer)
        await trio.sleep(0.05)
        assert not pubsub.peers
        assert sending_tasks() == 0
