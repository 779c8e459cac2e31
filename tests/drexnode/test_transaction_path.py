"""A transaction's way through several nodes: admission, dissemination and intake, in one process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from drexnode.dissemination import Dissemination
from drexnode.intake import Intake
from drexnode.relay_groups import RelayGroups
from drexnode.wire import Role
from ledger.transaction import Transaction
from p2p.memory import MemoryHost, MemoryNetwork
from p2p.transport import PeerId
from tests.drexnode.chain import key
from tests.drexnode.desk import Desk, codes, open_desk
from tests.drexnode.follower import connect, until
from tests.drexnode.test_admission import with_false_signature

NAMES = ("peer-0", "peer-1", "peer-2", "full-0", "full-1", "observer-0")


@dataclass
class Station:
    """One node's transaction path."""

    host: MemoryHost
    desk: Desk

    def holds(self, transactions: Sequence[Transaction]) -> bool:
        return all(item.txid in self.desk.admission.pool for item in transactions)

    @property
    def frames_sent(self) -> int:
        return self.host.counters().messages_by_channel.get(("transactions", "out"), 0)


@asynccontextmanager
async def open_stations(path: Path, network: MemoryNetwork) -> AsyncIterator[dict[str, Station]]:
    """Three validators, two full nodes and an observer, not yet connected."""
    async with AsyncExitStack() as stack:
        stations = {}
        for name in NAMES:
            host = await stack.enter_async_context(network.open_host(key(name).seed))
            desk = await stack.enter_async_context(open_desk(path / name, role_of(name)))
            stations[name] = Station(host, desk)
        validators = [stations[name].host.peer_id for name in NAMES[:3]]
        async with trio.open_nursery() as nursery:
            for name, station in stations.items():
                others = [peer for peer in validators if peer != station.host.peer_id]
                wire_up(nursery, station.host, station.desk, role_of(name), others)
            yield stations
            nursery.cancel_scope.cancel()


def role_of(name: str) -> Role:
    """The role by the name."""
    return "validator" if name[0] == "p" else "full" if name[0] == "f" else "observer"


def wire_up(
    nursery: trio.Nursery, host: MemoryHost, desk: Desk, role: Role, validators: list[PeerId]
) -> None:
    """As `drexnode.node` does it."""
    groups = RelayGroups(host.peer_id, lambda: sorted({*validators, host.peer_id}))
    dissemination = Dissemination(host, role, lambda: validators, groups)
    desk.admission._spread = dissemination.spread
    desk.admission._report = host.report
    intake = Intake(host, role, desk.admission.admit, lambda: validators, groups)
    intake.subscribe()
    nursery.start_soon(intake.run)
    nursery.start_soon(dissemination.run, desk.admission.unfinished)


async def test_what_a_full_node_takes_in_reaches_all_but_observers(tmp_path: Path) -> None:
    async with open_stations(tmp_path, MemoryNetwork()) as stations:
        await connect(*(station.host for station in stations.values()))
        transfers = stations["full-0"].desk.chain.transfers(40)
        assert codes(await stations["full-0"].desk.submit(*transfers)) == [None] * 40
        for name in NAMES[:5]:
            await until(lambda name=name: stations[name].holds(transfers))  # type: ignore[misc]
        assert len(stations["observer-0"].desk.admission.pool) == 0
        assert [stations[name].frames_sent for name in NAMES[:3]] == [0, 0, 0]  # nothing goes in a circle
        assert all(not host.bans() for host in (station.host for station in stations.values()))


async def test_a_full_node_that_knows_one_validator_reaches_all(tmp_path: Path) -> None:
    async with open_stations(tmp_path, MemoryNetwork()) as stations:
        await connect(*(stations[name].host for name in NAMES[:3]))
        first, lonely = stations["peer-0"].host, stations["full-0"].host
        everybody = {station.host.peer_id: station.host.listen_addresses for station in stations.values()}
        for host in (first, lonely):
            host.set_permitted({peer: known for peer, known in everybody.items() if peer != host.peer_id})
        lonely.add_persistent(first.peer_id)
        await until(lambda: lonely.is_connected(first.peer_id) and first.is_connected(lonely.peer_id))
        transfers = stations["full-0"].desk.chain.transfers(10)
        await stations["full-0"].desk.submit(*transfers)
        for name in NAMES[:3]:
            await until(lambda name=name: stations[name].holds(transfers))  # type: ignore[misc]
        assert [stations[name].frames_sent for name in NAMES[1:3]] == [0, 0]


async def test_a_full_node_that_knows_no_validator_reaches_them_through_another(tmp_path: Path) -> None:
    async with open_stations(tmp_path, MemoryNetwork()) as stations:
        await connect(*(stations[name].host for name in ("peer-0", "peer-1", "peer-2", "full-1")))
        one, two = stations["full-0"].host, stations["full-1"].host
        known = {
            station.host.peer_id: station.host.listen_addresses
            for name, station in stations.items()
            if name != "full-1"
        }
        one.set_permitted({two.peer_id: two.listen_addresses})
        two.set_permitted(known)
        one.add_persistent(two.peer_id)
        await until(lambda: one.is_connected(two.peer_id) and two.is_connected(one.peer_id))
        transfers = stations["full-0"].desk.chain.transfers(3)
        await stations["full-0"].desk.submit(*transfers)
        for name in NAMES[:3]:
            await until(lambda name=name: stations[name].holds(transfers))  # type: ignore[misc]


async def test_who_sends_false_signatures_is_charged_and_banned_in_the_end(tmp_path: Path) -> None:
    async with open_stations(tmp_path, MemoryNetwork()) as stations:
        victim, villain = stations["peer-0"], stations["full-0"]
        await connect(victim.host, villain.host)
        transfers = villain.desk.chain.transfers(8)
        chain_id = villain.desk.finalizer.chain_id
        sender = Dissemination(
            villain.host,
            "full",
            lambda: [victim.host.peer_id],
            RelayGroups(villain.host.peer_id, lambda: [victim.host.peer_id]),
        )
        for transfer in transfers:
            sender.push([with_false_signature(transfer, chain_id)], victim.host.peer_id)
            await trio.sleep(0.01)
        await until(lambda: bool(victim.host.bans()))
        assert len(victim.desk.admission.pool) == 0
