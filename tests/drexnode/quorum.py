"""A network of real nodes in one process: real stores, journals and engines over the in-memory transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from drexnode.config import NodeConfig, NodeSection, P2pSection, PoolSection
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.node import Node
from drexnode.rpc.server import open_socket
from drexnode.signer import LocalSigner
from drexnode.verifier import Verifier
from ledger.genesis_records import GenesisDocument
from ledger.transaction import Transaction
from p2p.identity import peer_id_from_seed
from p2p.memory import MemoryHost, MemoryNetwork
from p2p.transport import PeerId
from storage.signing_state import open_signing_state
from storage.watermark import create_watermark
from tests.drexnode.chain import VALIDATORS, key, open_finalizer
from tests.drexnode.follower import until


def peer(number: int) -> PeerId:
    """The peer through which validator `number` speaks."""
    return peer_id_from_seed(key(f"peer-{number}").seed)


def address(number: int) -> str:
    """Where it is found on a memory network."""
    return f"/dns/{peer(number)}/tcp/1/p2p/{peer(number)}"


@dataclass
class Member:
    """One running validator."""

    node: Node
    finalizer: Finalizer
    host: MemoryHost
    signer: LocalSigner
    scope: trio.CancelScope

    @property
    def height(self) -> int:
        return self.finalizer.head.height

    async def submit(self, *transactions: Transaction) -> None:
        for answer in await self.node._admission.admit([transaction.raw for transaction in transactions]):
            assert answer.error is None, answer.error


class Quorum:
    """Validators of one chain; some may be missing, or be played by a test."""

    def __init__(self, path: Path, document: GenesisDocument, nursery: trio.Nursery) -> None:
        self.path = path
        self.document = document
        self.network = MemoryNetwork()
        self.members: dict[int, Member] = {}
        self._nursery = nursery

    async def start(self, number: int) -> Member:
        """Start validator `number`, from what it left on disk."""
        return await self._nursery.start(self._run, number)

    async def stop(self, number: int) -> None:
        """End it as by a signal."""
        self.members.pop(number).scope.cancel()
        await trio.sleep(0.05)

    async def _run(self, number: int, task_status: trio.TaskStatus[Member]) -> None:  # type: ignore[name-defined]
        home = self.path / f"validator-{number}"
        signing_key = key(f"validator-{number}")
        config = NodeConfig(
            home=home,
            node=NodeSection(name=f"validator-{number}", role="validator"),
            p2p=P2pSection(peers=tuple(address(other) for other in range(VALIDATORS) if other != number)),
            pool=PoolSection(batch_wait_ms=5),
        )
        async with AsyncExitStack() as stack:
            home.mkdir(parents=True, exist_ok=True)
            (home / "data").mkdir(exist_ok=True)
            finalizer = stack.enter_context(open_finalizer(home / "data", self.document))
            if not (home / "mark").exists():
                create_watermark(home / "mark", finalizer.chain_id, signing_key.public_key)
            state = open_signing_state(
                home / "data" / "votes", home / "mark", finalizer.chain_id, signing_key.public_key
            )
            signer = LocalSigner(signing_key, state)
            stack.callback(signer.close)
            host = await stack.enter_async_context(self.network.open_host(key(f"peer-{number}").seed))
            node = Node(config, finalizer, host, Verifier(), signer, Metrics())
            listener = open_socket("127.0.0.1", 0)
            stack.callback(listener.close)
            with trio.CancelScope() as scope:
                self.members[number] = Member(node, finalizer, host, signer, scope)
                task_status.started(self.members[number])
                await node.run(listener)

    async def reach(self, height: int, seconds: float = 20) -> None:
        """Wait until all running members are there."""
        await until(lambda: all(member.height >= height for member in self.members.values()), seconds)

    def assert_one_chain(self) -> None:
        """All members agree on every block that two of them have."""
        shortest = min(member.height for member in self.members.values())
        for height in range(shortest + 1):
            headers = [member.finalizer.queries.header(height) for member in self.members.values()]
            assert headers[0] is not None
            assert all(header == headers[0] for header in headers)


@asynccontextmanager
async def open_quorum(path: Path, document: GenesisDocument, *running: int) -> AsyncIterator[Quorum]:
    """The validators of these numbers, started."""
    async with trio.open_nursery() as nursery:
        quorum = Quorum(path, document, nursery)
        for number in running:
            await quorum.start(number)
        try:
            yield quorum
        finally:
            nursery.cancel_scope.cancel()
