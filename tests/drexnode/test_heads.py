"""Heads travel at once where it counts, seldom elsewhere, and are never believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec import structs

from drexnode.head_pacing import DirectPacer, GossipPacer
from drexnode.wire import METHOD_STATUS, HeadAnnouncement, Status, encode_message
from p2p.memory import MemoryNetwork
from p2p.transport import Channel, PeerId, Topic, Verdict
from primitives.limits import HEAD_GOSSIP_MS, HEAD_REPEAT_MS, STATUS_INTERVAL_MS
from tests.drexnode.chain import Chain, certify, genesis_document
from tests.drexnode.follower import Follower, connect, open_follower, until

trio_test = pytest.mark.trio
DOCUMENT = genesis_document()
ALICE, BOB = PeerId("alice"), PeerId("bob")


# --- pacing of direct announcements


def test_the_proposer_tells_every_follower_at_once() -> None:
    pacer = DirectPacer()
    assert pacer.due([ALICE, BOB], 1, 0, at_once=True) == [ALICE, BOB]
    assert pacer.due([ALICE, BOB], 2, 1, at_once=True) == [ALICE, BOB]


def test_one_head_is_told_to_one_peer_once() -> None:
    pacer = DirectPacer()
    assert pacer.due([ALICE], 1, 0, at_once=True) == [ALICE]
    assert pacer.due([ALICE], 1, 10_000, at_once=True) == []


def test_others_tell_at_once_when_idle_and_seldom_under_load() -> None:
    pacer = DirectPacer()
    assert pacer.due([ALICE], 1, 0, at_once=False) == [ALICE]
    assert pacer.due([ALICE], 2, 50, at_once=False) == []
    assert pacer.due([ALICE], 3, HEAD_REPEAT_MS, at_once=False) == [ALICE]


def test_a_peer_that_comes_back_is_told_again() -> None:
    pacer = DirectPacer()
    pacer.due([ALICE], 1, 0, at_once=True)
    pacer.forget(ALICE)
    assert pacer.due([ALICE], 1, 1, at_once=False) == [ALICE]


# --- pacing of gossip


def test_a_head_is_gossiped_only_into_silence() -> None:
    pacer = GossipPacer()
    pacer.new_head(1, 0)
    assert not pacer.is_due(HEAD_REPEAT_MS - 1, 0)
    assert not pacer.is_due(HEAD_REPEAT_MS, 100)
    assert pacer.is_due(HEAD_REPEAT_MS + 100, 100)
    assert not pacer.is_due(20_000, 100)


def test_a_head_that_somebody_gossiped_is_not_repeated() -> None:
    pacer = GossipPacer()
    pacer.new_head(1, 0)
    pacer.heard(1, 100)
    assert not pacer.is_due(10_000, 0)


def test_gossip_stays_seldom_however_many_blocks_there_are() -> None:
    pacer = GossipPacer()
    published = 0
    for now_ms in range(0, 10 * HEAD_GOSSIP_MS, 50):
        pacer.new_head(1 + now_ms // 50, now_ms)
        published += pacer.is_due(now_ms, 0)
    assert 8 <= published <= 10


def test_a_node_stays_silent_while_others_keep_gossiping() -> None:
    pacer = GossipPacer()
    for now_ms in range(0, 5000, 100):
        pacer.new_head(10 + now_ms // 100, now_ms)
        if now_ms % 500 == 0:
            pacer.heard(8 + now_ms // 100, now_ms)
        assert not pacer.is_due(now_ms, 0)


# --- the tracker


@asynccontextmanager
async def open_network(path: Path, roles: str) -> AsyncIterator[list[Follower]]:
    """Nodes by the first letter of their role, each joined with each."""
    network = MemoryNetwork()
    names = {"v": "validator", "f": "full", "o": "observer"}
    async with AsyncExitStack() as stack:
        nodes: list[Follower] = []
        validators: list[PeerId] = []
        for number, letter in enumerate(roles):
            opening = open_follower(
                network,
                f"node-{number}",
                path / str(number),
                DOCUMENT,
                role=names[letter],  # type: ignore[arg-type]
                validator=f"validator-{number}" if letter == "v" else None,
                validators=validators,
                patience_ms=60_000 if letter == "v" else 0,
            )
            nodes.append(await stack.enter_async_context(opening))
            if letter == "v":
                validators.append(nodes[-1].host.peer_id)
        await connect(*(node.host for node in nodes))
        yield nodes


@trio_test
async def test_peers_learn_height_role_and_name_on_connection(tmp_path: Path) -> None:
    async with open_network(tmp_path, "fo") as (full, observer):
        await until(lambda: observer.heads.peer(full.host.peer_id) is not None)
        await until(lambda: full.heads.peer(observer.host.peer_id) is not None)
        known = full.heads.peer(observer.host.peer_id)
        assert known is not None
        assert (known.role, known.height, known.lowest_height) == ("observer", 0, 1)
        assert known.name == observer.host.peer_id[-4:]


@trio_test
async def test_a_peer_that_left_is_forgotten(tmp_path: Path) -> None:
    async with open_network(tmp_path, "fo") as (full, observer):
        await until(lambda: full.heads.peer(observer.host.peer_id) is not None)
        full.host.set_permitted({})
        await until(lambda: full.heads.peer(observer.host.peer_id) is None)


@trio_test
async def test_validators_are_not_told_what_they_decide_themselves(tmp_path: Path) -> None:
    async with open_network(tmp_path, "vvo") as (one, two, observer):
        await Chain(one.finalizer, DOCUMENT).grow(3)
        await until(lambda: observer.height == 3)
        heard = two.host.counters().messages_by_channel
        assert heard.get((Channel.BLOCKS.label, "in"), 0) == 0


@trio_test
async def test_a_burst_of_blocks_costs_few_announcements(tmp_path: Path) -> None:
    async with open_network(tmp_path, "fo") as (full, observer):
        await until(lambda: full.heads.peer(observer.host.peer_id) is not None)
        begin = trio.current_time()
        await Chain(full.finalizer, DOCUMENT).grow(30, 1)
        await until(lambda: observer.height == 30)
        elapsed_ms = (trio.current_time() - begin) * 1000
        sent = full.host.counters().messages_by_channel.get((Channel.BLOCKS.label, "out"), 0)
        assert sent <= 2 + elapsed_ms / HEAD_REPEAT_MS


@trio_test
async def test_status_is_the_fallback_when_announcements_are_lost(tmp_path: Path) -> None:
    async with open_network(tmp_path, "fo") as (full, observer):
        await until(lambda: observer.heads.peer(full.host.peer_id) is not None)
        full.host.send = lambda peer, channel, payload: False  # type: ignore[method-assign]
        full.host.broadcast = lambda peers, channel, payload: 0  # type: ignore[method-assign]
        full.host.publish = lambda topic, payload: False  # type: ignore[method-assign]
        await Chain(full.finalizer, DOCUMENT).grow(1)
        await until(lambda: observer.height == 1, 2 * STATUS_INTERVAL_MS / 1000)


@trio_test
async def test_a_malformed_announcement_is_charged(tmp_path: Path) -> None:
    async with open_network(tmp_path, "fo") as (full, observer):
        full.host.send(observer.host.peer_id, Channel.BLOCKS, b"\xc1")
        gate = observer.host.hub.gate
        await until(lambda: gate.score(full.host.peer_id, observer.host.hub.now_ms()) > 0)


@trio_test
async def test_an_announced_head_that_nobody_decided_is_charged_and_not_followed(tmp_path: Path) -> None:
    async with open_network(tmp_path, "fo") as (full, observer):
        await Chain(full.finalizer, DOCUMENT).grow(2)
        await until(lambda: observer.height == 2)
        head = full.finalizer.head
        forged = structs.replace(head.header, height=1_000, parent_id=head.block_id)
        payload = encode_message(HeadAnnouncement(forged, head.certificate))
        full.host.send(observer.host.peer_id, Channel.BLOCKS, payload)
        gate = observer.host.hub.gate
        await until(lambda: gate.score(full.host.peer_id, observer.host.hub.now_ms()) > 0)
        known = observer.heads.peer(full.host.peer_id)
        assert known is not None
        assert known.height == 2
        assert observer.sync.status().target_height == 2


@trio_test
async def test_a_claim_without_blocks_moves_nothing(tmp_path: Path) -> None:
    async with open_network(tmp_path, "fo") as (full, observer):
        await Chain(full.finalizer, DOCUMENT).grow(2)
        await until(lambda: observer.height == 2)
        head = full.finalizer.head

        async def boast(peer: PeerId, payload: bytes) -> bytes:
            chain_id = full.finalizer.chain_id
            return encode_message(Status(1, chain_id, 10**9, head.block_id, 1, "full", "boaster"))

        full.host.hub.handlers[METHOD_STATUS] = boast
        observer.heads.peer_connected(full.host.peer_id)
        await until(lambda: observer.heads.best_height() == 10**9)
        await trio.sleep(0.1)
        assert observer.height == 2
        assert observer.sync.status().target_height == 2
        assert observer.sync.status().syncing is False


# --- what is relayed


@trio_test
async def test_gossip_relays_only_new_heads_that_look_certified(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
    ):
        chain = Chain(full.finalizer, DOCUMENT)
        block, executed = chain.build(chain.transfers(1))
        validators = full.finalizer.head.validators
        judge = observer.host.hub.validators[Topic.HEADS]
        good = encode_message(HeadAnnouncement(block.header, block.certificate))
        few = certify(block.header, full.finalizer.chain_id, validators, seals=2)
        forged = certify(block.header, bytes(32), validators)
        assert judge(ALICE, good) is Verdict.ACCEPT
        assert judge(ALICE, encode_message(HeadAnnouncement(block.header, few))) is Verdict.REJECT
        assert judge(ALICE, encode_message(HeadAnnouncement(block.header, forged))) is Verdict.REJECT
        assert judge(ALICE, b"\xc1") is Verdict.REJECT
        await observer.finalizer.finalize(block, executed)
        assert judge(ALICE, good) is Verdict.IGNORE


@trio_test
async def test_gossip_alone_is_enough_to_follow(tmp_path: Path) -> None:
    async with open_network(tmp_path, "fo") as (full, observer):
        await until(lambda: observer.heads.peer(full.host.peer_id) is not None)
        full.host.broadcast = lambda peers, channel, payload: 0  # type: ignore[method-assign]
        await Chain(full.finalizer, DOCUMENT).grow(1)
        await until(lambda: observer.height == 1, 4)
        gossip = observer.host.counters().gossip
        assert gossip.get((Topic.HEADS.value, "accepted"), 0) == 1
