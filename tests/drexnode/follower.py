"""A node without consensus, RPC and pool: what follows a chain and serves it, over the in-memory network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trio

from drexnode.executor import Executor
from drexnode.finalizer import Finalizer
from drexnode.heads import HeadTracker
from drexnode.metrics import Metrics
from drexnode.override_exchange import OverrideExchange
from drexnode.recent_blocks import RecentBlocks
from drexnode.serving import BlockServer
from drexnode.sync import Synchroniser
from drexnode.verifier import Verifier
from drexnode.wire import Role
from ledger.genesis_records import GenesisDocument
from ledger.transaction import Transaction, signature_checks
from p2p.linked import LinkedTransport
from p2p.memory import MemoryNetwork
from p2p.transport import PeerEventKind, PeerId
from primitives.errors import InvalidTransaction
from tests.drexnode.chain import key, open_finalizer


@dataclass
class Follower:
    """The parts of one node."""

    host: LinkedTransport
    finalizer: Finalizer
    executor: Executor
    verifier: Verifier
    heads: HeadTracker
    sync: Synchroniser
    server: BlockServer
    overrides: OverrideExchange
    verified: list[Transaction]
    """Whose signatures sync asked to verify."""

    @property
    def height(self) -> int:
        return self.finalizer.head.height

    async def watch_peers(self, nursery: trio.Nursery) -> None:
        while True:
            for event in await self.host.events.receive():
                if event.kind is PeerEventKind.CONNECTED:
                    nursery.start_soon(self.overrides.ask, event.peer)
                    self.heads.peer_connected(event.peer)
                else:
                    self.heads.peer_gone(event.peer)
                    self.sync.peer_gone(event.peer)

    def on_tip(self, peer: PeerId, height: int, lowest_height: int | None) -> None:
        if lowest_height is None:
            self.sync.head_seen(peer, height)
        else:
            self.sync.tip_claimed(peer, height, lowest_height)

    async def run(self) -> None:
        """Everything but serving, which works without a task of its own."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch_peers, nursery)
            nursery.start_soon(self.heads.run)
            nursery.start_soon(self.sync.run)


def make_follower(
    host: LinkedTransport,
    finalizer: Finalizer,
    *,
    role: Role = "observer",
    validator: str | None = None,
    validators: Sequence[PeerId] = (),
    patience_ms: int = 0,
    decides: bool = True,
) -> Follower:
    """Wire a node up as `drexnode.node` does."""
    executor, verifier, recent = Executor(finalizer, Metrics()), Verifier(), RecentBlocks()
    finalizer.on_final(recent.on_final)
    verified: list[Transaction] = []

    async def verify_bodies(transactions: Sequence[Transaction]) -> None:
        verified.extend(transactions)
        checks = [check for transaction in transactions for check in signature_checks(transaction)]
        if not all(await verifier.verify(checks)):
            raise InvalidTransaction("TX_BAD_SIGNATURE", "a signature does not verify")

    overrides = OverrideExchange(host, finalizer)
    sync = Synchroniser(
        host,
        finalizer,
        executor,
        verifier,
        verify_bodies,
        Metrics(),
        overrides,
        patience_ms=patience_ms,
        decides=lambda: decides,
        validator_peers=lambda: validators,
    )
    heads = HeadTracker(
        host,
        finalizer,
        role=role,
        name=host.peer_id[-4:],
        validator_key=None if validator is None else key(validator).public_key,
        is_validator=lambda peer: peer in validators,
        random=Random(7),
    )
    server = BlockServer(
        finalizer,
        recent,
        find_body=lambda wtxid: None,
        find_block=lambda block: None,
        exchange_status=heads.exchange_status,
    )
    follower = Follower(host, finalizer, executor, verifier, heads, sync, server, overrides, verified)
    heads.on_tip(follower.on_tip)
    return follower


@asynccontextmanager
async def open_follower(
    network: MemoryNetwork,
    name: str,
    path: Path,
    document: GenesisDocument,
    *,
    role: Role = "observer",
    validator: str | None = None,
    validators: Sequence[PeerId] = (),
    patience_ms: int = 0,
    decides: bool = True,
) -> AsyncIterator[Follower]:
    """A whole node that runs while the context lasts; `connect` it to others."""
    with open_finalizer(path, document) as finalizer:
        async with network.open_host(key(name).seed) as host, trio.open_nursery() as nursery:
            follower = make_follower(
                host,
                finalizer,
                role=role,
                validator=validator,
                validators=validators,
                patience_ms=patience_ms,
                decides=decides,
            )
            follower.server.register(host)
            follower.overrides.register()
            follower.heads.subscribe()
            nursery.start_soon(follower.run)
            yield follower
            nursery.cancel_scope.cancel()


async def connect(*hosts: LinkedTransport) -> None:
    """Permit and join each with each."""
    for host in hosts:
        known = {other.peer_id: other.listen_addresses for other in hosts if other is not host}
        host.set_permitted(known)
        for other in known:
            host.add_persistent(other)
    await until(lambda: all(len(host.peers()) == len(hosts) - 1 for host in hosts))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something to become true, or fail."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event of its own
            await trio.sleep(0.002)
