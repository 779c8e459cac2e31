"""What a node may rely on, the same over libp2p on loopback and in memory."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.lowlevel

from p2p.linked import LinkedTransport
from p2p.transport import (
    Channel,
    Direction,
    DisconnectReason,
    Offence,
    PeerEventKind,
    PeerId,
    RequestCode,
    RequestFailed,
    RequestRefused,
    Topic,
    Verdict,
)
from primitives.errors import DecodeError, StorageFailure
from primitives.limits import (
    CHANNEL_FRAME_BYTES,
    GOSSIP_MAX_BYTES,
    INBOX_PEER_MESSAGES,
    MAX_RESPONSE_BYTES,
    MIB,
    REQUESTS_IN_FLIGHT,
    REQUESTS_SERVED_AT_ONCE,
    REQUESTS_SERVED_WAITING,
    SEND_QUEUE_BYTES,
)
from tests.p2p.support import (
    KINDS,
    as_transport,
    connect_all,
    open_mesh,
    open_nodes,
    permit,
    permit_all,
    receive,
    until,
)

pytestmark = [pytest.mark.trio, pytest.mark.parametrize("kind", KINDS)]


async def ask(
    host: LinkedTransport,
    peer: PeerId,
    method: str,
    payload: bytes = b"",
    seconds: float = 5,
    limit: int = MIB,
) -> bytes:
    return await as_transport(host).request(
        peer, method, payload, timeout_s=seconds, max_response_bytes=limit
    )


async def refusal_of(
    host: LinkedTransport,
    peer: PeerId,
    method: str,
    payload: bytes = b"",
    seconds: float = 5,
    limit: int = MIB,
) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        await ask(host, peer, method, payload, seconds, limit)
    assert caught.value.data["peer"] == peer
    return caught.value


async def disconnection(host: LinkedTransport) -> DisconnectReason | None:
    """The reason of the next disconnection this node sees."""
    with trio.fail_after(10):
        while True:
            for event in await host.events.receive():
                if event.kind is PeerEventKind.DISCONNECTED:
                    return event.reason


# --- connections


async def test_permitted_nodes_meet_and_see_each_other(kind: str) -> None:
    async with open_mesh(kind, 3) as hosts:
        for host in hosts:
            others = sorted(other.peer_id for other in hosts if other is not host)
            assert [info.peer_id for info in host.peers()] == others
            assert {event.peer for event in await host.events.receive()} == set(others)
        one, other = hosts[0].peers()[0], hosts[1].peers()[0]
        assert one.connected_since_ms > 1_600_000_000_000
        await until(lambda: hosts[0].peers()[0].rtt_ms is not None)
        assert other.score == 0


async def test_there_is_one_connection_a_pair_whoever_dialled(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        await trio.sleep(0.5)
        directions = {one.peers()[0].direction, other.peers()[0].direction}
        assert directions == {Direction.INBOUND, Direction.OUTBOUND}
        assert one.links[other.peer_id].session.stream_count == other.links[one.peer_id].session.stream_count


async def test_node_that_the_other_does_not_permit_is_refused(kind: str) -> None:
    async with open_nodes(kind, 2) as (one, other):
        permit_all([one, other])
        permit(other)  # nobody
        one.add_persistent(other.peer_id)
        await until(lambda: other.counters().refused_connections.get("not_permitted", 0) > 0)
        assert not one.is_connected(other.peer_id)
        assert other.peers() == ()


async def test_node_dials_nobody_it_does_not_permit(kind: str) -> None:
    async with open_nodes(kind, 2) as (one, other):
        permit(other, one.peer_id)
        one.add_persistent(other.peer_id, other.listen_addresses)
        await trio.sleep(0.3)
        assert one.counters().dial_failures == {}
        assert other.peers() == ()


async def test_permission_given_later_connects(kind: str) -> None:
    async with open_nodes(kind, 2) as (one, other):
        connect_all([one, other])
        await trio.sleep(0.2)
        permit_all([one, other])
        await until(lambda: one.is_connected(other.peer_id) and other.is_connected(one.peer_id))


async def test_removed_peer_is_cut_off_at_once(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        permit(one)
        assert not one.is_connected(other.peer_id)
        assert not one.send(other.peer_id, Channel.CONSENSUS, b"x")
        assert await disconnection(one) is DisconnectReason.NOT_PERMITTED
        assert await disconnection(other) is DisconnectReason.CLOSED_BY_PEER


async def test_lost_persistent_peer_is_dialled_again(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        one.disconnect(other.peer_id)
        assert await disconnection(one) is DisconnectReason.REQUESTED
        await until(lambda: one.is_connected(other.peer_id) and other.is_connected(one.peer_id))
        assert one.send(other.peer_id, Channel.CONSENSUS, b"back")
        assert (await receive(other, Channel.CONSENSUS))[0].payload == b"back"


async def test_peer_no_longer_persistent_stays_until_it_is_lost(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        one.remove_persistent(other.peer_id)
        other.remove_persistent(one.peer_id)
        assert one.is_connected(other.peer_id)
        one.disconnect(other.peer_id)
        await trio.sleep(0.6)
        assert not one.is_connected(other.peer_id)


async def test_peer_that_lies_is_banned_and_the_ban_can_be_lifted(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        one.report(other.peer_id, Offence.LIED, "range 7..9")
        assert await disconnection(one) is DisconnectReason.BANNED
        (ban,) = one.bans()
        assert (ban.peer, ban.reason) == (other.peer_id, "lied: range 7..9")
        await until(lambda: one.counters().refused_connections.get("banned", 0) > 0)
        assert one.lift_ban(other.peer_id)
        await until(lambda: one.is_connected(other.peer_id))
        assert one.bans() == ()


async def test_operator_can_ban_for_a_time(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        one.ban(other.peer_id, 700, "maintenance")
        assert not one.is_connected(other.peer_id)
        assert one.bans()[0].reason == "maintenance"
        await until(lambda: one.is_connected(other.peer_id))


async def test_nobody_connects_to_itself(kind: str) -> None:
    async with open_nodes(kind, 1) as (one,):
        permit(one, one.peer_id)
        one.add_persistent(one.peer_id, one.listen_addresses)
        await trio.sleep(0.2)
        assert one.peers() == ()


# --- direct messages


async def test_messages_arrive_once_in_order_on_their_channel(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        for number in range(200):
            for channel in Channel:
                assert one.send(other.peer_id, channel, b"%d" % number)
        for channel in Channel:
            messages = await receive(other, channel, 200)
            assert [message.payload for message in messages] == [b"%d" % number for number in range(200)]
            assert {(message.peer, message.source) for message in messages} == {(one.peer_id, channel)}


async def test_largest_frame_passes_and_a_larger_one_is_our_own_mistake(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        for channel in Channel:
            limit = CHANNEL_FRAME_BYTES[channel.label]
            assert one.send(other.peer_id, channel, bytes(limit))
            assert len((await receive(other, channel))[0].payload) == limit
            with pytest.raises(ValueError, match=channel.label):
                one.send(other.peer_id, channel, bytes(limit + 1))


async def test_broadcast_reaches_all_that_are_connected(kind: str) -> None:
    async with open_mesh(kind, 3) as hosts:
        stranger = PeerId("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")
        peers = [stranger, *(host.peer_id for host in hosts[1:])]
        assert hosts[0].broadcast(peers, Channel.CONSENSUS, b"vote") == 2
        for host in hosts[1:]:
            assert (await receive(host, Channel.CONSENSUS))[0].payload == b"vote"


async def test_send_to_a_peer_that_does_not_read_stops_at_a_bound(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        taken = 0
        with trio.move_on_after(3):
            while one.send(other.peer_id, Channel.TRANSACTIONS, bytes(2**16)):
                taken += 2**16
                await trio.lowlevel.checkpoint()
        await trio.sleep(0.2)
        while one.send(other.peer_id, Channel.TRANSACTIONS, bytes(2**16)):
            taken += 2**16
        assert one.counters().dropped_sends["transactions"] > 0
        assert one.peers()[0].queued_bytes <= SEND_QUEUE_BYTES
        assert taken < 4 * SEND_QUEUE_BYTES
        total = taken // 2**16  # and not one of those that were taken is lost
        assert len(await receive(other, Channel.TRANSACTIONS, total)) == total


async def test_flood_that_nobody_reads_does_not_hold_up_other_channels(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        while one.send(other.peer_id, Channel.TRANSACTIONS, bytes(2**16)):
            await trio.lowlevel.checkpoint()
        started = trio.current_time()
        for number in range(20):
            assert one.send(other.peer_id, Channel.CONSENSUS, b"vote %d" % number)
            assert (await receive(other, Channel.CONSENSUS))[0].payload == b"vote %d" % number
        assert trio.current_time() - started < 1


async def test_flooding_peer_does_not_hold_up_the_others(kind: str) -> None:
    async with open_mesh(kind, 3) as (one, flooder, honest):
        for _ in range(2 * INBOX_PEER_MESSAGES):
            flooder.send(one.peer_id, Channel.CONSENSUS, b"noise")
        await trio.sleep(0.3)
        assert honest.send(one.peer_id, Channel.CONSENSUS, b"vote")
        with trio.fail_after(5):
            while True:
                messages = await one.inbox(Channel.CONSENSUS).receive()
                if any(message.peer == honest.peer_id for message in messages):
                    break
        assert len(messages) <= INBOX_PEER_MESSAGES + 1


# --- gossip


def accept_all(hosts: list[LinkedTransport], topic: Topic) -> None:
    for host in hosts:
        host.subscribe(topic, lambda peer, payload: Verdict.ACCEPT)


async def gossip_ready(hosts: list[LinkedTransport], topic: Topic) -> None:
    """Publish until everybody has heard the publisher once; then empty the inboxes."""
    for host in hosts:
        waiting = {other.peer_id for other in hosts if other is not host}
        inboxes = {other.peer_id: other.inbox(topic) for other in hosts}
        with trio.fail_after(20):
            number = 0
            while waiting:
                number += 1
                host.publish(topic, b"probe %d" % number)
                await trio.sleep(0.05)
                waiting -= {peer for peer in waiting if inboxes[peer].receive_nowait()}
    await trio.sleep(0.3)
    for host in hosts:
        host.inbox(topic).receive_nowait()


async def test_gossip_is_delivered_once_to_everybody_but_its_author(kind: str) -> None:
    async with open_mesh(kind, 4) as hosts:
        accept_all(hosts, Topic.HEADS)
        await gossip_ready(hosts, Topic.HEADS)
        assert hosts[0].publish(Topic.HEADS, b"head 1")
        for host in hosts[1:]:
            (message,) = await receive(host, Topic.HEADS)
            assert (message.payload, message.author) == (b"head 1", hosts[0].peer_id)
        await trio.sleep(1.5)  # over a heartbeat: nothing comes a second time
        assert all(host.inbox(Topic.HEADS).receive_nowait() == [] for host in hosts)


async def test_gossip_is_relayed_to_who_is_not_connected_to_its_author(kind: str) -> None:
    async with open_nodes(kind, 3) as hosts:
        permit_all(hosts)
        hosts[0].add_persistent(hosts[1].peer_id)
        hosts[2].add_persistent(hosts[1].peer_id)
        await until(lambda: len(hosts[1].peers()) == 2)
        accept_all(hosts, Topic.HEADS)
        await gossip_ready(hosts, Topic.HEADS)
        hosts[0].publish(Topic.HEADS, b"far")
        (message,) = await receive(hosts[2], Topic.HEADS)
        assert (message.peer, message.author) == (hosts[1].peer_id, hosts[0].peer_id)


async def test_rejected_gossip_is_neither_delivered_nor_relayed_and_costs_points(kind: str) -> None:
    async with open_nodes(kind, 3) as hosts:
        permit_all(hosts)
        hosts[0].add_persistent(hosts[1].peer_id)
        hosts[2].add_persistent(hosts[1].peer_id)
        await until(lambda: len(hosts[1].peers()) == 2)
        hosts[1].subscribe(
            Topic.HEADS, lambda _, payload: Verdict.REJECT if b"bad" in payload else Verdict.ACCEPT
        )
        accept_all([hosts[0], hosts[2]], Topic.HEADS)
        await gossip_ready(hosts, Topic.HEADS)
        hosts[0].publish(Topic.HEADS, b"bad")
        await until(lambda: hosts[1].counters().gossip.get(("heads", "rejected"), 0) == 1)
        hosts[0].publish(Topic.HEADS, b"good")
        assert [message.payload for message in await receive(hosts[2], Topic.HEADS)] == [b"good"]
        score = {info.peer_id: info.score for info in hosts[1].peers()}
        assert score[hosts[0].peer_id] > 0
        assert score[hosts[2].peer_id] == 0


async def test_gossip_of_an_author_that_is_not_permitted_is_ignored(kind: str) -> None:
    async with open_nodes(kind, 3) as hosts:
        permit_all(hosts)
        hosts[0].add_persistent(hosts[1].peer_id)
        hosts[2].add_persistent(hosts[1].peer_id)
        await until(lambda: len(hosts[1].peers()) == 2)
        accept_all(hosts, Topic.HEADS)
        await gossip_ready(hosts, Topic.HEADS)
        permit(hosts[2], hosts[1].peer_id)  # no longer the author, two hops away
        hosts[0].publish(Topic.HEADS, b"from a stranger")
        await until(lambda: hosts[2].counters().gossip.get(("heads", "ignored"), 0) > 0)
        assert hosts[2].inbox(Topic.HEADS).receive_nowait() == []
        assert hosts[2].peers()[0].score == 0


async def test_what_is_not_subscribed_can_not_be_published_nor_what_is_too_large(kind: str) -> None:
    async with open_nodes(kind, 1) as (one,):
        with pytest.raises(ValueError, match="not subscribed"):
            one.publish(Topic.HEADS, b"x")
        accept_all([one], Topic.HEADS)
        with pytest.raises(ValueError, match="at most"):
            one.publish(Topic.HEADS, bytes(GOSSIP_MAX_BYTES + 1))
        with pytest.raises(ValueError, match="already"):
            one.subscribe(Topic.HEADS, lambda peer, payload: Verdict.ACCEPT)


# --- requests


async def test_request_is_answered(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):

        async def answer(peer: PeerId, payload: bytes) -> bytes:
            return peer.encode() + b" asked " + payload

        other.register_handler("greet", answer)
        assert await ask(one, other.peer_id, "greet", b"this") == one.peer_id.encode() + b" asked this"
        with pytest.raises(ValueError, match="already"):
            other.register_handler("greet", answer)


async def test_answers_of_any_size_up_to_the_bound_arrive_whole(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):

        async def answer(peer: PeerId, payload: bytes) -> bytes:
            return bytes(int(payload))

        other.register_handler("zeros", answer)
        for size in (0, 1, 59_999, 60_000, 60_001, 120_000, MAX_RESPONSE_BYTES):
            assert len(await ask(one, other.peer_id, "zeros", b"%d" % size, limit=MAX_RESPONSE_BYTES)) == size
        failed = await refusal_of(one, other.peer_id, "zeros", b"1001", limit=1000)
        assert failed.code == RequestCode.TOO_LARGE
        failed = await refusal_of(one, other.peer_id, "zeros", b"%d" % (MAX_RESPONSE_BYTES + 1))
        assert failed.code == RequestCode.TOO_LARGE
        assert await ask(one, other.peer_id, "zeros", b"5") == bytes(5)


async def test_failed_requests_say_why(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):

        async def refuse(peer: PeerId, payload: bytes) -> bytes:
            raise RequestRefused("below the pruned height 7")

        async def undecodable(peer: PeerId, payload: bytes) -> bytes:
            raise DecodeError("not a range")

        async def broken(peer: PeerId, payload: bytes) -> bytes:
            raise KeyError("secret")

        async def slow(peer: PeerId, payload: bytes) -> bytes:
            await trio.sleep(60)
            return b""

        for name, handler in (("r", refuse), ("u", undecodable), ("b", broken), ("s", slow)):
            other.register_handler(name, handler)
        refused = await refusal_of(one, other.peer_id, "r")
        assert (refused.code, refused.message) == (RequestCode.REFUSED, "below the pruned height 7")
        assert (await refusal_of(one, other.peer_id, "u")).code == RequestCode.REFUSED
        failed = await refusal_of(one, other.peer_id, "b")
        assert failed.code == RequestCode.FAILED
        assert "secret" not in failed.message
        assert (await refusal_of(one, other.peer_id, "s", seconds=0.1)).code == RequestCode.TIMEOUT
        assert (await refusal_of(one, other.peer_id, "x")).code == RequestCode.UNKNOWN_METHOD
        assert one.is_connected(other.peer_id)
        with pytest.raises(ValueError, match="method"):
            await ask(one, other.peer_id, "ünknown")


async def test_request_to_an_absent_peer_fails_at_once(kind: str) -> None:
    async with open_nodes(kind, 2) as (one, other):
        assert (await refusal_of(one, other.peer_id, "x")).code == RequestCode.NOT_CONNECTED


async def test_requests_under_way_fail_when_the_peer_goes(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):

        async def slow(peer: PeerId, payload: bytes) -> bytes:
            other.disconnect(peer)
            await trio.sleep(60)
            return b""

        other.register_handler("slow", slow)
        assert (await refusal_of(one, other.peer_id, "slow")).code == RequestCode.DISCONNECTED


async def test_small_answers_pass_large_ones(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        order: list[str] = []

        async def answer(peer: PeerId, payload: bytes) -> bytes:
            return bytes(MAX_RESPONSE_BYTES if payload == b"large" else 10)

        other.register_handler("get", answer)

        async def get(what: str) -> None:
            await ask(one, other.peer_id, "get", what.encode(), limit=MAX_RESPONSE_BYTES)
            order.append(what)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(get, "large")
            await trio.sleep(0.005)
            nursery.start_soon(get, "small")
        assert order[0] == "small"


async def test_abandoned_request_stops_its_handler(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        stopped = trio.Event()

        async def slow(peer: PeerId, payload: bytes) -> bytes:
            try:
                await trio.sleep(60)
            finally:
                stopped.set()
            return b""

        other.register_handler("slow", slow)
        with trio.move_on_after(0.1):
            await ask(one, other.peer_id, "slow")
        with trio.fail_after(5):
            await stopped.wait()


async def test_request_flood_is_answered_busy_and_bounded(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        running = most = 0
        codes: list[str] = []

        async def slow(peer: PeerId, payload: bytes) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(0.2)
            running -= 1
            return b""

        other.register_handler("slow", slow)

        async def get() -> None:
            try:
                await ask(one, other.peer_id, "slow")
                codes.append("ok")
            except RequestFailed as failed:
                codes.append(failed.code)

        async with trio.open_nursery() as nursery:
            for _ in range(REQUESTS_IN_FLIGHT + 20):
                nursery.start_soon(get)
        assert most == REQUESTS_SERVED_AT_ONCE
        assert codes.count("ok") == REQUESTS_SERVED_AT_ONCE + REQUESTS_SERVED_WAITING
        assert set(codes) == {"ok", RequestCode.BUSY}
        assert one.is_connected(other.peer_id)


async def test_failed_disk_in_a_handler_stops_the_node(kind: str) -> None:
    async def full(peer: PeerId, payload: bytes) -> bytes:
        raise StorageFailure("STORAGE_FULL", "no space left")

    with pytest.RaisesGroup(StorageFailure, flatten_subgroups=True):
        async with open_mesh(kind, 2) as (one, other):
            other.register_handler("read", full)
            with suppress(RequestFailed):  # the asker sees the connection end
                await ask(one, other.peer_id, "read")
            await trio.sleep_forever()


# --- figures


async def test_counters_tell_bytes_messages_and_disconnections(kind: str) -> None:
    async with open_mesh(kind, 2) as (one, other):
        one.send(other.peer_id, Channel.CONSENSUS, bytes(100))
        one.send(other.peer_id, Channel.CONSENSUS, bytes(50))
        await receive(other, Channel.CONSENSUS, 2)
        sent, received = one.counters(), other.counters()
        assert (
            sent.bytes_by_channel["consensus", "out"] == received.bytes_by_channel["consensus", "in"] == 150
        )
        assert sent.messages_by_channel["consensus", "out"] == 2
        one.disconnect(other.peer_id)
        await until(lambda: one.counters().disconnects == {"requested": 1})
