"""A body reaches a hundred validators although nobody sends it to more than ten; whoever keeps it back delays
it and nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, sqrt
from pathlib import Path

import pytest
import trio
import trio.testing

from drexnode.body_fetch import BodyFetcher
from drexnode.dissemination import Dissemination
from drexnode.intake import Intake
from drexnode.relay_groups import RelayGroups
from drexnode.wire import METHOD_BODIES, BodiesRequest, BodiesResponse, decode_message, encode_message
from ledger.transaction import Transaction
from p2p.memory import MemoryHost, MemoryNetwork
from p2p.transport import PeerId
from primitives.limits import BODY_REQUEST_TIMEOUT_MS, RELAY_ABOVE_VALIDATORS, RESEND_INTERVAL_MS
from tests.drexnode.chain import key
from tests.drexnode.desk import open_desk
from tests.drexnode.follower import until

MANY = 100
SOON_S = 1.0  # for a body to pass two nodes; their frames gather for 20 ms each
NOBODY = PeerId("nobody")


def names(count: int) -> list[PeerId]:
    """Peer ids in ascending order."""
    return [PeerId(f"peer-{number:03}") for number in range(count)]


@pytest.mark.parametrize("count", [RELAY_ABOVE_VALIDATORS + 1, 30, 64, 99, MANY])
def test_heads_and_their_mates_are_all_validators_each_once(count: int) -> None:
    validators = names(count)
    for turn, own in enumerate((validators[0], validators[count // 2], NOBODY)):
        heads = RelayGroups(own, lambda: validators).heads(set(validators), turn)
        assert own not in heads
        groups = [RelayGroups(head, lambda: validators).mates() for head in heads]
        told = [mate for group in groups for mate in group]
        reached = sorted(peer for peer in (*heads, *told) if peer != own)
        assert reached == [peer for peer in validators if peer != own]
        assert max(map(len, [heads, *groups])) <= ceil(sqrt(count))


def test_each_turn_asks_another_member_and_only_one_that_is_reached() -> None:
    validators = names(MANY)
    groups = RelayGroups(validators[0], lambda: validators)
    turns = [groups.heads(set(validators), turn) for turn in range(9)]
    assert all(not set(one) & set(next_one) for one, next_one in pairwise(turns))
    two = {validators[5], validators[15]}
    assert {*groups.heads(two, 0), *groups.heads(two, 1)} == two
    assert groups.heads(set(), 0) == []


def test_few_validators_have_no_groups() -> None:
    few, more = names(RELAY_ABOVE_VALIDATORS), names(RELAY_ABOVE_VALIDATORS + 1)
    assert not RelayGroups(few[0], lambda: few).in_use
    assert RelayGroups(more[0], lambda: more).in_use
    assert RelayGroups(NOBODY, lambda: more).mates() == []


@dataclass
class Validator:
    """A node that admits whatever comes, and passes it on as `drexnode.admission` does."""

    host: MemoryHost
    known: dict[bytes, Transaction]
    """Every transaction there is, by its raw bytes: in place of decoding and judging it."""
    keeps_back: bool = False
    pool: dict[bytes, Transaction] = field(default_factory=dict)
    spread: Callable[..., None] = lambda *args, **options: None

    async def admit(self, raws: Sequence[bytes], *, source: PeerId | None, relay: bool) -> list[object]:
        added = [self.known[raw] for raw in raws if self.known[raw].wtxid not in self.pool]
        self.remember(added)
        if added and relay and not self.keeps_back:
            self.spread(added, source=source)
        await trio.lowlevel.checkpoint()
        return []

    def remember(self, transactions: Iterable[Transaction]) -> None:
        self.pool |= {transaction.wtxid: transaction for transaction in transactions}

    async def bodies(self, peer: PeerId, payload: bytes) -> bytes:
        asked = decode_message(payload, BodiesRequest).wtxids
        held = [self.pool[wtxid].raw for wtxid in asked if wtxid in self.pool]
        return encode_message(BodiesResponse(tuple(held)))

    def traffic(self, direction: str) -> int:
        return self.host.counters().bytes_by_channel.get(("transactions", direction), 0)


@dataclass
class Crowd:
    """Validators in the order of their peer ids; the first is where transactions come in."""

    network: MemoryNetwork
    validators: list[Validator]
    transfers: list[Transaction]
    chain_id: bytes

    @property
    def source(self) -> Validator:
        return self.validators[0]

    def lacking(self) -> list[Validator]:
        wanted = {transfer.wtxid for transfer in self.transfers}
        return [one for one in self.validators if not wanted <= one.pool.keys()]

    async def take_in(self) -> None:
        """A wallet hands the transfers to the source."""
        await self.source.admit([transfer.raw for transfer in self.transfers], source=None, relay=True)


@asynccontextmanager
async def crowd(path: Path, count: int) -> AsyncIterator[Crowd]:
    """The source is connected to everybody, everybody to its own group: the links that the bodies take."""
    network = MemoryNetwork(delay_s=0.02)
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(open_desk(path))
        transfers = desk.chain.transfers(20)
        known = {transfer.raw: transfer for transfer in transfers}
        hosts = [
            await stack.enter_async_context(network.open_host(key(f"crowd-{number}").seed))
            for number in range(count)
        ]
        hosts.sort(key=lambda host: host.peer_id)
        peers = [host.peer_id for host in hosts]
        nursery = await stack.enter_async_context(trio.open_nursery())
        validators = [Validator(host, known) for host in hosts]
        for one in validators:
            wire_up(nursery, one, peers)
        addresses = {host.peer_id: host.listen_addresses for host in hosts}
        wanted = []
        for host in hosts:
            host.set_permitted({peer: known for peer, known in addresses.items() if peer != host.peer_id})
            mates = RelayGroups(host.peer_id, lambda: peers).mates()
            wanted += [(host, peer) for peer in {*mates, peers[0]} if peer < host.peer_id]
        for host, peer in wanted:
            host.add_persistent(peer)
        await until(lambda: all(host.is_connected(peer) for host, peer in wanted))
        yield Crowd(network, validators, transfers, desk.finalizer.chain_id)
        nursery.cancel_scope.cancel()


def wire_up(nursery: trio.Nursery, one: Validator, peers: list[PeerId]) -> None:
    """As `drexnode.node` does it."""
    own = one.host.peer_id
    others = [peer for peer in peers if peer != own]
    groups = RelayGroups(own, lambda: peers)
    dissemination = Dissemination(one.host, "validator", lambda: others, groups)
    one.spread = dissemination.spread
    one.host.register_handler(METHOD_BODIES, one.bodies)
    nursery.start_soon(Intake(one.host, "validator", one.admit, lambda: others, groups).run)
    resent: Callable[[], list[Transaction]] = (
        (lambda: list(one.pool.values())) if own == peers[0] else list  # only the source took them in
    )
    nursery.start_soon(dissemination.run, resent)


async def test_a_body_reaches_a_hundred_and_its_source_sends_it_ten_times(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with crowd(tmp_path, MANY) as all_of_them:
        await all_of_them.take_in()
        await trio.sleep(SOON_S)
        assert not all_of_them.lacking()
        size = sum(transfer.size for transfer in all_of_them.transfers)
        framing = 1.1
        fan_out = ceil(sqrt(MANY))
        assert fan_out * size <= all_of_them.source.traffic("out") <= fan_out * size * framing
        for one in all_of_them.validators[1:]:
            assert one.traffic("out") <= fan_out * size * framing
            assert one.traffic("in") <= size * framing  # each body once
        assert not any(one.host.bans() for one in all_of_them.validators)


async def test_what_relays_keep_back_arrives_by_others_when_it_is_offered_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with crowd(tmp_path, 36) as all_of_them:
        for hostile in all_of_them.validators[1:13]:  # two of the six members of each group
            hostile.keeps_back = True
        await all_of_them.take_in()
        offers = 0
        while all_of_them.lacking() and offers < 3:  # two offers may meet the two hostile ones, no third does
            await trio.sleep(RESEND_INTERVAL_MS / 1000)
            offers += 1
        assert not all_of_them.lacking()


async def test_what_a_relay_keeps_back_is_pulled_by_its_wtxid(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with crowd(tmp_path, 36) as all_of_them:
        for hostile in all_of_them.validators[1:]:
            hostile.keeps_back = True
        await all_of_them.take_in()
        await trio.sleep(SOON_S)
        [leaf, *others] = all_of_them.lacking()
        assert len(others) == 36 - 1 - 6 - 1  # all but the source, its six and this one
        fetcher = BodyFetcher(
            leaf.host,
            leaf,  # type: ignore[arg-type]  # remembers, which is all that is asked of an admission
            leaf.pool.get,
            all_of_them.chain_id,
        )
        missing = [transfer.wtxid for transfer in all_of_them.transfers]
        silent = others[0].host.peer_id
        with trio.fail_after(2 * BODY_REQUEST_TIMEOUT_MS / 1000):
            found = await fetcher.bodies(
                missing, [silent, all_of_them.source.host.peer_id], room_bytes=1 << 20, are_promised=False
            )
        assert found.keys() == set(missing)


async def test_a_group_whose_relay_is_cut_off_is_told_by_another(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with crowd(tmp_path, 36) as all_of_them:
        lost = RelayGroups(all_of_them.source.host.peer_id, all_peers(all_of_them)).heads(
            {one.host.peer_id for one in all_of_them.validators}, 1
        )
        for peer in lost:  # those whom the source asks first: nothing passes, and nobody knows it yet
            for one in all_of_them.validators:
                if one.host.peer_id != peer:
                    all_of_them.network.cut(peer, one.host.peer_id)
        await all_of_them.take_in()
        await trio.sleep(SOON_S)
        assert len(all_of_them.lacking()) == 35
        await trio.sleep(RESEND_INTERVAL_MS / 1000 + SOON_S)
        assert {one.host.peer_id for one in all_of_them.lacking()} == set(lost)


def all_peers(validators: Crowd) -> Callable[[], list[PeerId]]:
    """As the permits tell them."""
    return lambda: [one.host.peer_id for one in validators.validators]
