"""The reading half of the RPC over a stopped node's data: the same methods, the same answers, no node.

`StoppedClient` stands where `drexnode.client.Client` stands, so that `drexnode inspect balance` is
`drexnode query balance` on files. What only a running node knows (pool, peers, consensus) is empty and says
why; nothing can be sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar, cast

import trio

import drexnode.rpc.methods  # noqa: F401 - importing it registers every method
from drexnode.chain_api import ChainApi
from drexnode.client import Call, RpcRefused
from drexnode.config import NodeConfig
from drexnode.finalizer import Finalizer
from drexnode.ledger_api import LedgerApi
from drexnode.metrics import Metrics
from drexnode.money_api import MoneyApi
from drexnode.outcomes import final_state
from drexnode.recovery import head_of
from drexnode.rpc.chain_values import StoredTransaction, Submitted, TransactionState
from drexnode.rpc.errors import RpcError
from drexnode.rpc.events_api import EventLog
from drexnode.rpc.maintenance_api import MaintenanceApi
from drexnode.rpc.node_values import (
    CastVote,
    ConsensusStatus,
    EvidenceInfo,
    NodeIdentity,
    PeerInfo,
    PendingInfo,
    PoolStatus,
    Reason,
    Role,
    SyncStatus,
)
from drexnode.rpc.peering_api import PeeringApi
from drexnode.rpc.registry import Context, find_method
from drexnode.rpc.upgrade_api import UpgradeStatus
from drexnode.stopped import StoppedChain
from drexnode.version import PROTOCOL_VERSION
from ledger.apply import reference_key
from ledger.genesis import encode_genesis
from ledger.mempool import Mempool, MempoolLimits
from ledger.payloads import VoteOperation
from ledger.registry import get_protocol
from ledger.transaction import decode_transaction
from primitives.block import block_id
from primitives.errors import DrexError

T = TypeVar("T")
_STOPPED = "this is the data of a stopped node"


class StoppedNode(ChainApi, MoneyApi, LedgerApi):
    """A `drexnode.rpc.api.NodeApi` of data alone."""

    def __init__(self, config: NodeConfig, chain: StoppedChain) -> None:
        head = head_of(chain.store, chain.chain_id)
        finalizer = Finalizer(chain.store, chain.tree, chain.document, head, Metrics())
        ChainApi.__init__(self, finalizer)
        MoneyApi.__init__(self, finalizer)
        LedgerApi.__init__(self, finalizer, Mempool(MempoolLimits()), lambda: head.header.timestamp_ms)
        self._config = config

    @property
    def identity(self) -> NodeIdentity:
        """See `NodeApi`."""
        document, node = self._finalizer.genesis, self._config.node
        return NodeIdentity(
            node.name, cast(Role, node.role), self._finalizer.chain_id, encode_genesis(document),
            document.name, document.address_prefix, "", (),
        )  # fmt: skip

    @property
    def maintenance(self) -> MaintenanceApi:
        """Refused: NODE_STOPPED."""
        _refuse()

    @property
    def peering(self) -> PeeringApi:
        """Refused: NODE_STOPPED."""
        _refuse()

    async def submit(self, transactions: Sequence[bytes]) -> list[Submitted]:
        """Refused: NODE_STOPPED."""
        await trio.lowlevel.checkpoint()
        _refuse()

    async def transaction_state(self, txid: bytes) -> TransactionState:
        """See `NodeApi`: FINAL or UNKNOWN."""
        await trio.lowlevel.checkpoint()
        return final_state(self._queries, txid) or TransactionState(txid, "UNKNOWN")

    async def wait_final(self, txid: bytes, timeout_ms: int) -> TransactionState:
        """See `NodeApi`: nothing comes, so nothing is waited for."""
        return await self.transaction_state(txid)

    async def transaction(self, txid: bytes) -> StoredTransaction | None:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        located = self._queries.transaction(txid)
        header = None if located is None else self._queries.header(located.height)
        if located is None or header is None:
            return None
        wtxid = decode_transaction(located.raw, self._finalizer.chain_id).wtxid
        return StoredTransaction(txid, wtxid, located.raw, located.height, located.position, block_id(header))

    async def transaction_by_reference(self, asset: str, reference: bytes) -> bytes | None:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return self._finalizer.state.get(reference_key(asset, reference))

    async def peers(self) -> list[PeerInfo]:
        """None: see `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return []

    def consensus(self) -> ConsensusStatus:
        """See `NodeApi`."""
        head = self._finalizer.head
        quorum = head.validators.quorum
        return ConsensusStatus(head.height + 1, 0, "halted", None, quorum, 0, (), _STOPPED)

    def stall_causes(self) -> list[Reason]:
        """It is stopped: see `NodeApi`."""
        return self.not_ready()

    async def cast_vote(self, subject: bytes, operation: VoteOperation) -> CastVote:
        """Refused: NODE_STOPPED."""
        await trio.lowlevel.checkpoint()
        _refuse()

    def evidence(self) -> tuple[EvidenceInfo, ...]:
        """None: see `NodeApi`."""
        return ()

    def sync(self) -> SyncStatus:
        """See `NodeApi`."""
        height = self._finalizer.head.height
        return SyncStatus(False, height, height)

    def pool(self) -> PoolStatus:
        """Empty: see `NodeApi`."""
        return PoolStatus(0, 0, 0, 0)

    def pending(self, after: tuple[int, bytes] | None, limit: int) -> list[PendingInfo]:
        """None: see `NodeApi`."""
        return []

    def events(self, kind: str) -> EventLog:
        """None: see `NodeApi`."""
        return EventLog(kind)

    def started(self) -> bool:
        """False: see `NodeApi`."""
        return False

    def upgrade(self) -> UpgradeStatus:
        """What the stored state says; of other nodes nothing is known."""
        head, record = self._finalizer.head, get_protocol(self._finalizer.state)
        is_ahead = record.height > head.height
        return UpgradeStatus(
            height=head.height,
            version=record.at(head.height),
            next_version=record.next_version if is_ahead else None,
            next_height=record.height if is_ahead else None,
            supported=PROTOCOL_VERSION,
            quorum=head.validators.quorum,
            nodes=(),
        )

    def not_ready(self) -> list[Reason]:
        """See `NodeApi`."""
        return [Reason("STOPPED", _STOPPED)]

    def halt(self, failure: DrexError) -> None:
        """Raise what a read met."""
        raise failure

    def metrics_text(self) -> bytes:
        """None: see `NodeApi`."""
        return b""


class StoppedClient:
    """Carries out calls on a stopped node's data, where a `Client` would ask a node."""

    def __init__(self, config: NodeConfig, chain: StoppedChain) -> None:
        self._context = Context(StoppedNode(config, chain), config.rpc)

    def run(self, call: Call[T]) -> T:
        """Carry out one call. Raises `RpcRefused` with the method's code, and `StorageFailure` for damage."""
        try:
            return call.read(trio.run(self._answer, call.method, call.params))
        except RpcError as error:
            body = error.body()
            raise RpcRefused(error.code, str(body["message"]), **error.data) from None

    async def _answer(self, name: str, params: tuple[Any, ...]) -> Any:
        entry = find_method(name)
        return await entry.handler(self._context, *entry.bind(list(params), self._context))

    def __enter__(self) -> StoppedClient:
        return self

    def __exit__(self, *_: object) -> None:
        """The data is closed by whoever opened it."""


def _refuse() -> NoReturn:
    raise DrexError("NODE_STOPPED", f"{_STOPPED}: start it, or name another with --rpc URL")
