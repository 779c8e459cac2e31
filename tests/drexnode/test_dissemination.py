"""Transactions reach the validators: at once when alone, in full frames under load, and never in a circle."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio
import trio.testing

from drexnode.dissemination import Dissemination, Outbox, pack_frames
from drexnode.intake import Intake, judge
from drexnode.relay_groups import RelayGroups
from drexnode.wire import Role, TransactionBatch, decode_message, encode_message
from ledger.transaction import Body, Transaction, Witness
from p2p.inbox import BoundedInbox
from p2p.transport import Channel, Message, Offence, PeerId, Topic, Transport, Verdict
from primitives.limits import (
    BATCH_TARGET_BYTES,
    DIRECT_BATCH_PAUSE_MS,
    GOSSIP_BATCH_PAUSE_MS,
    OUTBOX_BYTES,
    PEER_TRANSACTIONS_BURST,
    RESEND_INTERVAL_MS,
)

VALIDATORS = [PeerId(f"validator-{number}") for number in range(4)]
FULL = PeerId("full-0")


@dataclass
class Network:
    """Remembers what it was asked to carry. Only `connected` peers are reached."""

    connected: set[PeerId] = field(default_factory=lambda: set(VALIDATORS))
    sent: list[tuple[PeerId, TransactionBatch]] = field(default_factory=list)
    published: list[TransactionBatch] = field(default_factory=list)
    reports: list[tuple[PeerId, Offence]] = field(default_factory=list)
    topics: list[Topic] = field(default_factory=list)
    inboxes: dict[Channel | Topic, BoundedInbox] = field(default_factory=dict)

    def is_connected(self, peer: PeerId) -> bool:
        return peer in self.connected

    def send(self, peer: PeerId, channel: Channel, payload: bytes) -> bool:
        assert channel is Channel.TRANSACTIONS
        if peer not in self.connected:
            return False
        self.sent.append((peer, decode_message(payload, TransactionBatch)))
        return True

    def broadcast(self, peers: Iterable[PeerId], channel: Channel, payload: bytes) -> int:
        return sum(self.send(peer, channel, payload) for peer in peers)

    def publish(self, topic: Topic, payload: bytes) -> bool:
        assert topic is Topic.TRANSACTIONS
        self.published.append(decode_message(payload, TransactionBatch))
        return True

    def subscribe(self, topic: Topic, validator: object) -> None:
        self.topics.append(topic)

    def report(self, peer: PeerId, offence: Offence, detail: str = "") -> None:
        self.reports.append((peer, offence))

    def inbox(self, source: Channel | Topic) -> BoundedInbox:
        return self.inboxes.setdefault(source, BoundedInbox())


def transport(network: Network) -> Transport:
    return network  # type: ignore[return-value]


def transaction(number: int, size: int = 300) -> Transaction:
    """A transaction that is only carried: nothing here looks inside."""
    raw = number.to_bytes(4, "big") + bytes(size - 4)
    body = Body(1, 2, (), (), 0, 0, b"", b"")  # type: ignore[arg-type]
    return Transaction(body, Witness((), (), ()), (), raw[:4] * 8, raw[:4] * 8, raw)


def node(role: Role, network: Network, own: PeerId | None = None) -> Dissemination:
    def others() -> list[PeerId]:
        return [peer for peer in VALIDATORS if peer != own]

    return Dissemination(transport(network), role, others, ungrouped(own))


def ungrouped(own: PeerId | None = None) -> RelayGroups:
    """As of a small network."""
    return RelayGroups(own or FULL, lambda: VALIDATORS)


async def spread_in_turns(
    dissemination: Dissemination,
    nursery: trio.Nursery,
    transactions: Iterable[Transaction],
    *,
    source: PeerId | None,
) -> None:
    nursery.start_soon(dissemination.run, list)
    for item in transactions:
        dissemination.spread([item], source=source)
        await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(GOSSIP_BATCH_PAUSE_MS / 1000)
    await trio.testing.wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()


async def test_a_lone_transaction_leaves_at_once(autojump_clock: trio.testing.MockClock) -> None:
    network = Network()
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        dissemination = node("validator", network, VALIDATORS[0])
        nursery.start_soon(dissemination.run, list)
        dissemination.spread([transaction(1)], source=None)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == begin
        nursery.cancel_scope.cancel()
    assert [peer for peer, _ in network.sent] == VALIDATORS[1:]
    assert {batch.transactions for _, batch in network.sent} == {(transaction(1).raw,)}
    assert not network.published


async def test_under_load_all_but_the_first_share_a_frame(autojump_clock: trio.testing.MockClock) -> None:
    network = Network(connected={VALIDATORS[1]})
    made = [transaction(number) for number in range(100)]
    async with trio.open_nursery() as nursery:
        await spread_in_turns(node("validator", network, VALIDATORS[0]), nursery, made, source=None)
    frames = [batch.transactions for _, batch in network.sent]
    assert [len(frame) for frame in frames] == [1, 99]
    assert [raw for frame in frames for raw in frame] == [item.raw for item in made]


async def test_a_full_frame_does_not_wait(autojump_clock: trio.testing.MockClock) -> None:
    frames: list[list[bytes]] = []
    outbox = Outbox(frames.append, DIRECT_BATCH_PAUSE_MS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run)
        outbox.put([b"first"])
        await trio.testing.wait_all_tasks_blocked()
        begin = trio.current_time()
        outbox.put([bytes(1000)] * 100)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == begin
        assert [len(frame) for frame in frames] == [1, BATCH_TARGET_BYTES // 1000]
        await trio.sleep(DIRECT_BATCH_PAUSE_MS / 1000 + 0.001)
        assert sum(map(len, frames)) == 101
        nursery.cancel_scope.cancel()


def test_the_outbox_is_bounded_and_counts_what_it_drops() -> None:
    outbox = Outbox(lambda frame: None, DIRECT_BATCH_PAUSE_MS)
    outbox.put([bytes(1 << 20)] * (OUTBOX_BYTES // (1 << 20) + 3))
    assert outbox.dropped == 3


def test_frames_keep_order_and_size() -> None:
    raws = [bytes([size % 251]) * size for size in (10, 59_990, 1, 70_000, 30_000, 30_000, 5)]
    frames = list(pack_frames(raws))
    assert [raw for frame in frames for raw in frame] == raws
    assert all(len(frame) == 1 or sum(map(len, frame)) <= BATCH_TARGET_BYTES for frame in frames)
    assert all(sum(map(len, left)) + len(right[0]) > BATCH_TARGET_BYTES for left, right in pairwise(frames))


async def test_a_full_node_sends_to_validators_and_gossips_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network()
    async with trio.open_nursery() as nursery:
        await spread_in_turns(node("full", network), nursery, [transaction(1)], source=None)
    assert {peer for peer, _ in network.sent} == set(VALIDATORS)
    assert not any(batch.relay for _, batch in network.sent)
    assert [batch.relay for batch in network.published] == [False]


async def test_what_others_gossiped_is_not_gossiped_again(autojump_clock: trio.testing.MockClock) -> None:
    network = Network()
    async with trio.open_nursery() as nursery:
        await spread_in_turns(node("full", network), nursery, [transaction(1)], source=PeerId("full-9"))
    assert {peer for peer, _ in network.sent} == set(VALIDATORS)
    assert not network.published


async def test_a_full_node_that_misses_validators_asks_one_to_tell_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network(connected=set(VALIDATORS[:2]))
    made = [transaction(number, BATCH_TARGET_BYTES) for number in range(4)]
    async with trio.open_nursery() as nursery:
        await spread_in_turns(node("full", network), nursery, made, source=None)
    assert len(network.sent) == 8
    tellers = [peer for peer, batch in network.sent if batch.relay]
    assert sorted(tellers) == [VALIDATORS[0], VALIDATORS[0], VALIDATORS[1], VALIDATORS[1]]


async def test_a_full_node_that_reaches_no_validator_asks_the_gossip(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network(connected=set())
    async with trio.open_nursery() as nursery:
        await spread_in_turns(node("full", network), nursery, [transaction(1)], source=None)
    assert not network.sent
    assert [batch.relay for batch in network.published] == [True]


async def test_an_observer_sends_nothing(autojump_clock: trio.testing.MockClock) -> None:
    network = Network()
    async with trio.open_nursery() as nursery:
        await spread_in_turns(node("observer", network), nursery, [transaction(1)], source=None)
    assert not network.sent
    assert not network.published


async def test_what_waits_long_is_offered_again(autojump_clock: trio.testing.MockClock) -> None:
    network = Network(connected=set())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node("validator", network, VALIDATORS[0]).run, lambda: [transaction(5)])
        await trio.testing.wait_all_tasks_blocked()
        network.connected = {VALIDATORS[2]}
        await trio.sleep(RESEND_INTERVAL_MS / 1000 + 0.001)
        nursery.cancel_scope.cancel()
    assert [(peer, batch.transactions) for peer, batch in network.sent] == [
        (VALIDATORS[2], (transaction(5).raw,))
    ]


def test_a_push_goes_at_once_to_whom_it_is_meant_for() -> None:
    network = Network(connected=set(VALIDATORS[:3]))
    dissemination = node("validator", network, VALIDATORS[0])
    dissemination.push([transaction(1), transaction(2)], VALIDATORS[2])
    assert [(peer, len(batch.transactions)) for peer, batch in network.sent] == [(VALIDATORS[2], 2)]
    dissemination.push([transaction(3)])
    assert [peer for peer, _ in network.sent[1:]] == VALIDATORS[1:3]


# --- taking in


@dataclass
class Admitted:
    """Remembers what it was given to admit."""

    batches: list[tuple[tuple[bytes, ...], PeerId, bool]] = field(default_factory=list)

    async def __call__(self, raws: Iterable[bytes], *, source: PeerId, relay: bool) -> list[object]:
        await trio.lowlevel.checkpoint()
        self.batches.append((tuple(raws), source, relay))
        return []


def arrival(payload: bytes, peer: PeerId = FULL, author: PeerId | None = None) -> Message:
    source = Topic.TRANSACTIONS if author else Channel.TRANSACTIONS
    return Message(peer, source, payload, author)


async def take_in(role: Role, network: Network, messages: Iterable[Message]) -> Admitted:
    admitted = Admitted()
    intake = Intake(transport(network), role, admitted, lambda: VALIDATORS, ungrouped())
    intake.subscribe()
    for message in messages:
        assert network.inbox(message.source).put_nowait(message)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return admitted


BATCH = encode_message(TransactionBatch(True, (b"one", b"two")))


async def test_a_batch_is_admitted_in_one_piece() -> None:
    network = Network()
    admitted = await take_in("validator", network, [arrival(BATCH)])
    assert admitted.batches == [((b"one", b"two"), FULL, True)]
    assert not network.reports


async def test_what_a_validator_sent_is_not_told_to_validators_again() -> None:
    admitted = await take_in("validator", Network(), [arrival(BATCH, VALIDATORS[1])])
    assert [relay for _, _, relay in admitted.batches] == [False]


async def test_gossip_is_charged_to_its_author_not_to_the_neighbour() -> None:
    network = Network()
    author = PeerId("full-7")
    admitted = await take_in("full", network, [arrival(BATCH, FULL, author), arrival(b"junk", FULL, author)])
    assert [source for _, source, _ in admitted.batches] == [author]
    assert network.reports == [(author, Offence.INVALID_MESSAGE)]


@pytest.mark.parametrize("junk", [b"", b"\x92\xc3\x90", b"\xff" * 40, BATCH + b"\x00"])
async def test_bytes_that_are_no_batch_are_charged(junk: bytes) -> None:
    network = Network()
    admitted = await take_in("validator", network, [arrival(junk)])
    assert not admitted.batches
    assert network.reports == [(FULL, Offence.INVALID_MESSAGE)]
    assert judge(FULL, junk) is Verdict.REJECT


async def test_a_flooder_is_heard_within_its_budget_and_others_still_are() -> None:
    network = Network()
    size = PEER_TRANSACTIONS_BURST // 20
    large = encode_message(TransactionBatch(False, (b"x",) * size))
    other = PeerId("full-2")
    admitted = await take_in("validator", network, [*[arrival(large)] * 30, arrival(BATCH, other)])
    heard = sum(len(raws) for raws, source, _ in admitted.batches if source == FULL)
    assert PEER_TRANSACTIONS_BURST - size <= heard <= PEER_TRANSACTIONS_BURST * 1.2
    assert (FULL, Offence.FLOODING) in network.reports
    assert [source for _, source, _ in admitted.batches][1] == other  # it came last, and has the second turn


async def test_an_observer_takes_nothing() -> None:
    network = Network()
    admitted = await take_in("observer", network, [arrival(BATCH)])
    assert not admitted.batches
    assert not network.topics
    assert network.reports == [(FULL, Offence.STALE)]


async def test_only_full_nodes_join_the_gossip_of_transactions() -> None:
    for role, topics in (("full", [Topic.TRANSACTIONS]), ("validator", []), ("observer", [])):
        network = Network()
        await take_in(role, network, [])  # type: ignore[arg-type]
        assert network.topics == topics
    assert judge(FULL, BATCH) is Verdict.ACCEPT
