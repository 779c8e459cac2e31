"""The planner of catching up: order, bounds, and villains among the peers that serve."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drexnode.range_parts import FetchedBlock, FetchFailure, FetchRange
from drexnode.range_sync import RangePlanner
from drexnode.sync_progress import SyncProgress
from drexnode.wire import BlockPart
from p2p.transport import Offence, PeerId
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.limits import (
    MAX_BLOCK_BYTES,
    SYNC_BACKOFF_MIN_MS,
    SYNC_CHUNK_BYTES,
    SYNC_HEDGE_MS,
    SYNC_LIVE_BLOCKS,
    SYNC_RANGE_BLOCKS,
    SYNC_REPORT_MS,
    SYNC_REQUESTS_IN_FLIGHT,
    SYNC_REQUESTS_PER_PEER,
    SYNC_WINDOW_BYTES,
)

ALICE, BOB, CAROL = PeerId("alice"), PeerId("bob"), PeerId("carol")
ZERO = bytes(32)
BODY = b"\x92" * 100


def part(height: int, count: int = 1, *, first: int = 0, total: int | None = None, tag: int = 0) -> BlockPart:
    """Transactions `first` … of a block; `tag` makes another block of the same height."""
    total = first + count if total is None else total
    header = BlockHeader(1, height, ZERO, height + tag, ZERO, total, ZERO, ZERO, ZERO, ZERO)
    return BlockPart(header, CommitCertificate(1, height, 0, ZERO, ()), first, (BODY,) * count)


def parts(ask: FetchRange) -> list[BlockPart]:
    return [part(height) for height in range(ask.first, ask.last + 1)]


def heights(blocks: Sequence[FetchedBlock]) -> list[int]:
    return [block.height for block in blocks]


def planner_at(height: int, **tips: int) -> RangePlanner:
    planner = RangePlanner(height)
    for peer, tip in tips.items():
        planner.claim(PeerId(peer), tip, 0)
    return planner


# --- asking


def test_a_node_without_peers_asks_nothing() -> None:
    planner = planner_at(7)
    assert planner.plan(0) == []
    assert planner.target == 7
    assert planner.next_wakeup(0) is None


def test_asking_starts_right_after_the_own_tip_and_ends_at_the_claim() -> None:
    (ask,) = planner_at(7, alice=9).plan(0)
    assert (ask.peer, ask.first, ask.last, ask.first_index) == (ALICE, 8, 9, 0)


def test_a_restart_goes_on_from_the_stored_tip() -> None:
    planner = planner_at(0, alice=50)
    (ask,) = planner.plan(0)
    planner.received(ask.request_id, parts(ask)[:20], 1)
    assert heights(planner.take(1000)) == list(range(1, 21))
    planner.finalized(20)
    again = planner_at(20, alice=50)
    assert again.plan(0)[0].first == 21


def test_ranges_go_to_several_peers_and_never_overlap() -> None:
    planner = planner_at(0, alice=10_000, bob=10_000, carol=10_000)
    asks = planner.plan(0)
    assert {ask.peer for ask in asks} == {ALICE, BOB, CAROL}
    covered = [height for ask in asks for height in range(ask.first, ask.last + 1)]
    assert covered == list(range(1, covered[-1] + 1))
    assert all(ask.count <= SYNC_RANGE_BLOCKS for ask in asks)
    assert len(asks) <= SYNC_REQUESTS_IN_FLIGHT
    assert planner.plan(1) == []


def test_a_peer_is_asked_for_no_more_than_its_share_at_one_time() -> None:
    assert len(planner_at(0, alice=100_000).plan(0)) == SYNC_REQUESTS_PER_PEER


def test_a_peer_below_the_gap_is_not_asked_for_it() -> None:
    planner = planner_at(10, alice=9, bob=12)
    assert {ask.peer for ask in planner.plan(0)} == {BOB}


def test_a_pruned_peer_is_not_asked_for_blocks_it_lost() -> None:
    planner = RangePlanner(0)
    planner.claim(ALICE, 100, 0, lowest=50)
    assert planner.plan(0) == []


def test_large_blocks_are_asked_for_in_smaller_ranges() -> None:
    planner = planner_at(0, alice=100_000)
    now = 0
    for _ in range(12):
        ask = planner.plan(now)[0]
        now += 1
        planner.received(ask.request_id, [part(ask.first, 4000)], now)
        planner.take(10_000)
        planner.finalized(ask.first)
    sizes = [ask.count for ask in planner.plan(now)]
    assert sizes == [] or max(sizes) <= 3


# --- answers


def test_blocks_are_handed_out_in_order_whatever_the_order_of_answers() -> None:
    planner = planner_at(0, alice=10_000, bob=10_000)
    first, second, *_ = planner.plan(0)
    planner.received(second.request_id, parts(second), 1)
    assert planner.take(10_000) == []
    planner.received(first.request_id, parts(first), 2)
    assert heights(planner.take(10_000)) == list(range(1, second.last + 1))


def test_what_a_short_answer_left_out_is_asked_again() -> None:
    planner = planner_at(0, alice=10)
    (ask,) = planner.plan(0)
    assert planner.received(ask.request_id, parts(ask)[:4], 1) is None
    (rest,) = planner.plan(1)
    assert (rest.first, rest.last) == (5, 10)


def test_a_large_block_comes_in_parts_from_one_peer() -> None:
    planner = planner_at(0, alice=2, bob=2)
    (ask,) = planner.plan(0)
    assert planner.received(ask.request_id, [part(1, 3, total=8)], 1) is None
    assert planner.take(100) == []
    more = next(again for again in planner.plan(1) if again.first_index)
    assert (more.peer, more.first, more.first_index) == (ask.peer, 1, 3)
    assert planner.received(more.request_id, [part(1, 5, first=3, total=8), part(2)], 2) is None
    blocks = planner.take(100)
    assert heights(blocks) == [1, 2]
    assert len(blocks[0].transactions) == 8


def test_the_rest_of_a_block_that_came_whole_from_another_peer_is_not_asked_for() -> None:
    planner = planner_at(0, alice=1)
    (slow,) = planner.plan(0)
    planner.claim(BOB, 1, 1)
    (second,) = planner.plan(SYNC_HEDGE_MS)
    planner.received(slow.request_id, [part(1, 1, total=2)], SYNC_HEDGE_MS + 1)
    planner.received(second.request_id, [part(1, 2)], SYNC_HEDGE_MS + 1)
    assert heights(planner.take(10)) == [1]
    assert planner.plan(SYNC_HEDGE_MS + 2) == []
    assert planner.in_flight == 0


def test_an_endless_block_is_given_up() -> None:
    planner = planner_at(0, alice=1)
    (ask,) = planner.plan(0)
    offence, served = None, 0
    for _ in range(2 * MAX_BLOCK_BYTES // SYNC_CHUNK_BYTES):
        count = SYNC_CHUNK_BYTES // len(BODY)
        offence = planner.received(ask.request_id, [part(1, count, first=served, total=10**6)], 1)
        served += count
        if offence is not None:
            break
        (ask,) = planner.plan(1)
    assert offence is Offence.INVALID_MESSAGE
    assert planner.outstanding_bytes == 0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([part(2)], id="another height"),
        pytest.param([part(1), part(3)], id="a hole"),
        pytest.param([part(1), part(2), part(3), part(4)], id="more than asked"),
        pytest.param([part(1, 2, first=1, total=3)], id="starts inside"),
        pytest.param([part(1, 0, total=3)], id="brings nothing"),
        pytest.param([part(1, 2, total=3), part(2)], id="cut in the middle"),
    ],
)
def test_an_answer_to_another_question_is_an_offence(answer: list[BlockPart]) -> None:
    planner = planner_at(0, alice=3)
    (ask,) = planner.plan(0)
    assert planner.received(ask.request_id, answer, 1) is Offence.INVALID_MESSAGE
    assert planner.take(100) == []
    planner.claim(BOB, 3, 1)
    assert [ask.peer for ask in planner.plan(1)] == [BOB]


def test_parts_of_two_different_blocks_are_an_offence() -> None:
    planner = planner_at(0, alice=1)
    (ask,) = planner.plan(0)
    planner.received(ask.request_id, [part(1, 1, total=2)], 1)
    (more,) = planner.plan(1)
    offence = planner.received(more.request_id, [part(1, 1, first=1, total=2, tag=9)], 2)
    assert offence is Offence.INVALID_MESSAGE


def test_a_peer_without_what_it_claimed_is_doubted_and_its_claim_forgotten() -> None:
    planner = planner_at(0, alice=10**12, bob=3)
    for ask in planner.plan(0):
        if ask.peer == ALICE:
            assert planner.received(ask.request_id, [], 1) is Offence.UNSERVED
    assert planner.target == 3
    planner.claim(ALICE, 10**12, 2)
    assert planner.target == 3
    planner.claim(ALICE, 10**12, 2 + SYNC_BACKOFF_MIN_MS)
    assert planner.target == 10**12


def test_a_silent_peer_is_replaced_and_asked_again_after_a_rest() -> None:
    planner = planner_at(0, alice=5)
    (ask,) = planner.plan(0)
    assert planner.failed(ask.request_id, FetchFailure.TIMEOUT, 8000) is Offence.UNSERVED
    assert planner.plan(8000) == []
    wake = planner.next_wakeup(8000)
    assert wake == 8000 + SYNC_BACKOFF_MIN_MS
    planner.claim(BOB, 5, 8001)
    assert [again.peer for again in planner.plan(8001)] == [BOB]
    planner.drop_peer(BOB)
    assert [again.peer for again in planner.plan(wake)] == [ALICE]


def test_a_busy_peer_is_no_offender() -> None:
    planner = planner_at(0, alice=5)
    (ask,) = planner.plan(0)
    assert planner.failed(ask.request_id, FetchFailure.BUSY, 1) is None
    assert planner.plan(1) == []


def test_the_block_all_wait_for_is_asked_of_a_second_peer_when_the_first_is_late() -> None:
    planner = planner_at(0, alice=5)
    (slow,) = planner.plan(0)
    planner.claim(BOB, 5, 1)
    assert planner.plan(1) == []
    assert planner.next_wakeup(1) == SYNC_HEDGE_MS
    (second,) = planner.plan(SYNC_HEDGE_MS)
    assert (second.peer, second.first, second.last) == (BOB, 1, 5)
    planner.received(second.request_id, parts(second), SYNC_HEDGE_MS + 10)
    assert heights(planner.take(100)) == [1, 2, 3, 4, 5]
    assert planner.received(slow.request_id, parts(slow), SYNC_HEDGE_MS + 20) is None
    assert planner.take(100) == []
    assert planner.next_height == 6


def test_an_answer_after_the_peer_is_gone_is_ignored() -> None:
    planner = planner_at(0, alice=5)
    (ask,) = planner.plan(0)
    planner.drop_peer(ALICE)
    assert planner.received(ask.request_id, [part(3)], 1) is None
    assert planner.outstanding_bytes == 0


# --- refusing, and consensus running ahead


def test_a_refused_block_is_fetched_from_another_peer() -> None:
    planner = planner_at(0, alice=20)
    (ask,) = planner.plan(0)
    planner.received(ask.request_id, parts(ask)[:10], 1)
    taken = planner.take(4)
    planner.claim(BOB, 20, 2)
    planner.refuse(taken[2])
    assert planner.next_height == 3
    assert planner.take(100) == []
    (again,) = planner.plan(3)
    assert (again.peer, again.first) == (BOB, 3)
    planner.received(again.request_id, parts(again), 4)
    assert heights(planner.take(100)) == list(range(3, 21))


def test_blocks_that_consensus_decided_are_not_handed_out() -> None:
    planner = planner_at(0, alice=10)
    (ask,) = planner.plan(0)
    planner.received(ask.request_id, parts(ask), 1)
    planner.finalized(4)
    assert heights(planner.take(100)) == [5, 6, 7, 8, 9, 10]


def test_memory_is_given_back_once_blocks_are_final() -> None:
    planner = planner_at(0, alice=10)
    (ask,) = planner.plan(0)
    planner.received(ask.request_id, parts(ask), 1)
    planner.take(3)
    assert planner.outstanding_bytes > 0
    planner.finalized(10)
    assert planner.outstanding_bytes == 0


def test_a_stalled_pipeline_stops_the_fetching() -> None:
    planner = planner_at(0, alice=100_000, bob=100_000)
    now = 0
    for _ in range(2000):
        asks = planner.plan(now)
        now += 10
        if not asks:
            break
        for ask in asks:
            planner.received(ask.request_id, [part(ask.first, 5000)], now)
        planner.take(100)
    else:
        pytest.fail("it never stopped")
    assert planner.outstanding_bytes <= SYNC_WINDOW_BYTES + 2 * SYNC_CHUNK_BYTES


# --- villains


@dataclass
class Peer:
    """Serves the chain of a simulated network in its own way."""

    name: PeerId
    tip: int
    serve: Callable[[FetchRange, random.Random], list[BlockPart] | FetchFailure]
    delay_ms: int = 10
    offences: list[Offence] = field(default_factory=list)


def honest(ask: FetchRange, rng: random.Random) -> list[BlockPart]:
    """Serves some of what it is asked, large blocks in parts."""
    served: list[BlockPart] = []
    for height in range(ask.first, ask.last + 1):
        first = ask.first_index if height == ask.first else 0
        total = height % 4
        if total - first > 1 and rng.random() < 0.2:
            served.append(part(height, 1, first=first, total=total))
            break
        served.append(part(height, total - first, first=first, total=total))
        if rng.random() < 0.1:
            break
    return served


def silent(ask: FetchRange, rng: random.Random) -> FetchFailure:
    return FetchFailure.TIMEOUT


def boaster(ask: FetchRange, rng: random.Random) -> list[BlockPart]:
    return []


def shifter(ask: FetchRange, rng: random.Random) -> list[BlockPart]:
    return [part(ask.first + rng.randrange(1, 5))]


def truncator(ask: FetchRange, rng: random.Random) -> list[BlockPart]:
    return [part(ask.first, 0, total=3)]


def forger(ask: FetchRange, rng: random.Random) -> list[BlockPart]:
    return [part(height, height % 4, tag=1) for height in range(ask.first, ask.last + 1)]


def garbler(ask: FetchRange, rng: random.Random) -> FetchFailure:
    return FetchFailure.MALFORMED


VILLAINS = (silent, boaster, shifter, truncator, forger, garbler)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    villains=st.lists(st.sampled_from(VILLAINS), max_size=6),
    honest_peers=st.integers(1, 3),
    start=st.integers(0, 30),
    length=st.integers(1, 400),
)
def test_one_honest_peer_is_enough_whatever_the_villains(
    seed: int,
    villains: list[Callable[[FetchRange, random.Random], list[BlockPart] | FetchFailure]],
    honest_peers: int,
    start: int,
    length: int,
) -> None:
    rng = random.Random(seed)
    tip = start + length
    peers = {
        name: Peer(name, tip + rng.randrange(50), serve, rng.randrange(1, 50))
        for number, serve in enumerate(villains)
        if (name := PeerId(f"villain-{number}"))
    }
    for number in range(honest_peers):
        name = PeerId(f"honest-{number}")
        peers[name] = Peer(name, tip, honest, rng.randrange(1, 2000))
    planner, now = RangePlanner(start), 0
    for peer in peers.values():
        planner.claim(peer.name, peer.tip, now)
    flying: list[tuple[int, FetchRange]] = []
    final: list[int] = []
    for _ in range(20_000):
        if planner.final_height == tip:
            break
        for ask in planner.plan(now):
            assert ask.first > planner.final_height
            delay = 8000 if peers[ask.peer].serve is silent else peers[ask.peer].delay_ms
            flying.append((now + delay, ask))
        assert planner.in_flight <= SYNC_REQUESTS_IN_FLIGHT + 1
        assert planner.outstanding_bytes <= SYNC_WINDOW_BYTES + 2 * SYNC_CHUNK_BYTES
        flying.sort(key=lambda item: (item[0], item[1].request_id))
        wake = planner.next_wakeup(now)
        moments = [moment for moment in (wake, flying[0][0] if flying else None) if moment is not None]
        now = max(now, min(moments)) if moments else now + 1000
        while flying and flying[0][0] <= now:
            _, ask = flying.pop(0)
            answer = peers[ask.peer].serve(ask, rng)
            if isinstance(answer, FetchFailure):
                offence = planner.failed(ask.request_id, answer, now)
            else:
                offence = planner.received(ask.request_id, answer, now)
            if offence is not None:
                peers[ask.peer].offences.append(offence)
        for block in planner.take(rng.randrange(1, 200)):
            assert block.height == planner.final_height + 1
            if block.header.timestamp_ms != block.height:  # forged
                planner.refuse(block)
                peers.get(block.peer, peers[block.peer]).offences.append(Offence.LIED)
                break
            assert len(block.transactions) == block.header.tx_count
            planner.finalized(block.height)
            final.append(block.height)
        if rng.random() < 0.05:
            planner.claim(rng.choice(sorted(peers)), tip, now)
    assert final == list(range(start + 1, tip + 1))
    assert all(not peer.offences for peer in peers.values() if peer.serve is honest)


# --- progress


def test_following_at_the_tip_is_not_being_behind() -> None:
    progress = SyncProgress(0)
    assert progress.update(100, 100 + SYNC_LIVE_BLOCKS) is None
    assert progress.is_behind is False
    assert progress.update(100, 101 + SYNC_LIVE_BLOCKS) is True
    assert progress.update(101, 101 + SYNC_LIVE_BLOCKS) is False


def test_rates_and_time_left_are_of_the_last_interval() -> None:
    progress = SyncProgress(0)
    progress.update(0, 1000)
    progress.start(0)
    assert progress.report(0, 1000, SYNC_REPORT_MS - 1) is None
    for _ in range(100):
        progress.count(50)
    report = progress.report(100, 1000, SYNC_REPORT_MS)
    assert report is not None
    assert report.blocks_per_second == 100 * 1000 // SYNC_REPORT_MS
    assert report.transactions_per_second == 5000 * 1000 // SYNC_REPORT_MS
    assert report.eta_s == 900 * SYNC_REPORT_MS // 100_000
    stalled = progress.report(100, 1000, 2 * SYNC_REPORT_MS)
    assert stalled is not None
    assert stalled.eta_s is None
