"""A running node as its RPC sees it: `drexnode.rpc.api.NodeApi` over the node's own parts.

Guarantees: nothing here changes the node but `submit`; every answer is of this moment, and waits are driven
by events. The chain and the money are read in `chain_api.py` and `money_api.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import cast

import trio

from consensus.evidence import Evidence
from drexnode.admission import Admission
from drexnode.alerts import Alerts
from drexnode.chain_api import ChainApi
from drexnode.clock import wall_clock_ms
from drexnode.config import NodeConfig
from drexnode.finalizer import Finalizer
from drexnode.gauges import Gauges
from drexnode.heads import HeadTracker
from drexnode.ledger_api import LedgerApi
from drexnode.maintenance import Maintenance
from drexnode.metrics import Metrics
from drexnode.money_api import MoneyApi
from drexnode.peering import Peering
from drexnode.pending import pending_page
from drexnode.permits import Permits
from drexnode.rpc.chain_values import StoredTransaction, Submitted, TransactionState
from drexnode.rpc.events_api import EventLog
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
from drexnode.rpc.upgrade_api import UpgradeStatus
from drexnode.snapshot_chunks import SnapshotProgress
from drexnode.stall import StallCauses, late_block
from drexnode.sync import Synchroniser
from drexnode.upgrades import Upgrades
from drexnode.validator_watch import ValidatorWatch
from drexnode.vote_desk import VoteDesk
from ledger.apply import reference_key
from ledger.genesis import encode_genesis
from ledger.payloads import VoteOperation
from ledger.transaction import decode_transaction
from p2p.transport import PeerId, Transport
from p2p.transport import PeerInfo as Connected
from primitives.block import block_id
from primitives.codec import encode
from primitives.errors import DrexError, InvariantViolation

_NO_STALL = frozenset({"NO_PEERS"})  # a network of one validator has none, and others say NO_QUORUM


class LocalNode(ChainApi, MoneyApi, LedgerApi):
    """One node's `NodeApi`. Belongs to the node's trio thread."""

    def __init__(
        self,
        *,
        config: NodeConfig,
        finalizer: Finalizer,
        admission: Admission,
        transport: Transport,
        permits: Permits,
        heads: HeadTracker,
        sync: Synchroniser,
        watch: ValidatorWatch,
        metrics: Metrics,
        evidence: Callable[[], Sequence[Evidence]] = tuple,
        override_missing: Callable[[], DrexError | None] = lambda: None,
        beginning: SnapshotProgress | None = None,
        causes: StallCauses | None = None,
        votes: VoteDesk | None = None,
        configured: frozenset[PeerId] = frozenset(),
        upgrades: Upgrades | None = None,
    ) -> None:
        ChainApi.__init__(self, finalizer)
        MoneyApi.__init__(self, finalizer)
        LedgerApi.__init__(self, finalizer, admission.pool, lambda: time.time_ns() // 1_000_000)
        self._config = config
        self._admission = admission
        self._transport = transport
        self._permits = permits
        self._heads = heads
        self._sync = sync
        self._watch = watch
        self._metrics = metrics
        metrics.block_period_seconds.set(finalizer.genesis.parameters.empty_block_period_ms / 1000)
        self._evidence = evidence
        self.maintenance = Maintenance(config, finalizer)
        self._upgrades = upgrades or Upgrades(transport, finalizer, permits, config.node.name)
        self.peering = Peering(
            transport,
            permits,
            own_status=heads.own_status,
            configured=configured,
        )
        self._override_missing = override_missing
        self._beginning = beginning
        self._causes = causes
        self._votes = votes
        self._gauges = Gauges(
            metrics,
            transport=transport,
            store=finalizer.store,
            pool=admission.pool,
            data_path=config.data_path,
            sync_target=lambda: sync.status().target_height,
        )
        admission.closed_because = self._why_closed
        self.consensus_log = EventLog("consensus")
        self.alerts = Alerts(causes=self._alarming, consensus=self.consensus, evidence=evidence)
        self._failure: DrexError | None = None
        self._halted = trio.Event()

    async def run(self) -> None:
        """Wait until a read fails in a way that the node must not survive, and raise what it met."""
        await self._halted.wait()
        if self._failure is not None:
            raise self._failure

    def halt(self, failure: DrexError) -> None:
        """See `NodeApi`: `run` raises the first of them, which stops the node."""
        if self._failure is None:
            self._failure = failure
        self._halted.set()

    @property
    def identity(self) -> NodeIdentity:
        """See `NodeApi`."""
        genesis, node = self._finalizer.genesis, self._config.node
        return NodeIdentity(
            name=node.name,
            role=cast(Role, node.role),
            chain_id=self._finalizer.chain_id,
            genesis=encode_genesis(genesis),
            network=genesis.name,
            address_prefix=genesis.address_prefix,
            peer_id=self._transport.peer_id,
            listen_addresses=self._transport.listen_addresses,
            validator_key=self._permits.validator_key_of(self._transport.peer_id),
        )

    # --- transactions

    async def submit(self, transactions: Sequence[bytes]) -> list[Submitted]:
        """See `NodeApi`. Raises `DrexError` (NODE_OBSERVER, NODE_NOT_READY)."""
        return await self._admission.admit(transactions)

    async def transaction_state(self, txid: bytes) -> TransactionState:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return self._admission.state_of(txid)

    async def wait_final(self, txid: bytes, timeout_ms: int) -> TransactionState:
        """See `NodeApi`."""
        return await self._admission.wait_final(txid, timeout_ms)

    async def transaction(self, txid: bytes) -> StoredTransaction | None:
        """See `NodeApi`. Raises `DrexError` (BLOCK_PRUNED)."""
        await trio.lowlevel.checkpoint()
        located = self._queries.transaction(txid)
        if located is None:
            pending = self._admission.pool.get(txid)
            return None if pending is None else StoredTransaction(txid, pending.wtxid, pending.raw)
        header = self._queries.header(located.height)
        if header is None:
            raise InvariantViolation(
                "CHAIN_HOLE", f"block {located.height} is indexed, its header is not there"
            )
        wtxid = decode_transaction(located.raw, self._finalizer.chain_id).wtxid
        return StoredTransaction(txid, wtxid, located.raw, located.height, located.position, block_id(header))

    async def transaction_by_reference(self, asset: str, reference: bytes) -> bytes | None:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return self._finalizer.state.get(reference_key(asset, reference))

    # --- network and node

    async def peers(self) -> list[PeerInfo]:
        """See `NodeApi`."""
        await trio.lowlevel.checkpoint()
        return self._peers()

    def consensus(self) -> ConsensusStatus:
        """See `NodeApi`."""
        return self._watch.status()

    def stall_causes(self) -> list[Reason]:
        """See `NodeApi`."""
        found = {reason.code: reason for reason in self.not_ready() if reason.code not in _NO_STALL}
        found |= {} if self._causes is None else {reason.code: reason for reason in self._causes.all()}
        return list(found.values())

    async def cast_vote(self, subject: bytes, operation: VoteOperation) -> CastVote:
        """See `NodeApi`."""
        if self._votes is None:
            raise DrexError("NODE_NOT_VALIDATOR", "only a validator votes; ask a validator's node")
        return await self._votes.cast(subject, operation)

    def evidence(self) -> tuple[EvidenceInfo, ...]:
        """See `NodeApi`."""
        return tuple(
            EvidenceInfo(found.validator, found.height, found.round, found.step, encode(found))
            for found in self._evidence()
        )

    def sync(self) -> SyncStatus:
        """See `NodeApi`."""
        return self._sync.status()

    def pool(self) -> PoolStatus:
        """See `NodeApi`."""
        pool = self._admission.pool
        return PoolStatus(len(pool), pool.size_bytes, pool.limits.max_transactions, pool.limits.max_bytes)

    def pending(self, after: tuple[int, bytes] | None, limit: int) -> list[PendingInfo]:
        """See `NodeApi`."""
        return pending_page(self._admission.pool, after, limit)

    def events(self, kind: str) -> EventLog:
        """See `NodeApi`."""
        return self.alerts.log if kind == "alerts" else self.consensus_log

    def started(self) -> bool:
        """See `NodeApi`: this object is made once recovery is over."""
        return bool(self._transport.listen_addresses)

    def upgrade(self) -> UpgradeStatus:
        """See `NodeApi`."""
        return self._upgrades.status()

    def not_ready(self) -> list[Reason]:
        """See `NodeApi`."""
        reasons: list[Reason] = []
        if self._failure is not None:
            reasons.append(Reason("HALTED", str(self._failure), {"cause": self._failure.code}))
        sync, consensus = self._sync.status(), self._watch.status()
        alone = consensus.validators and all(info.connected for info in consensus.validators)
        if self._beginning is not None and self._beginning.phase != "over":
            reasons.append(Reason("SNAPSHOT_SYNC", self._beginning.sentence()))
        if sync.syncing:
            message = f"at block {sync.height}, peers are at {sync.target_height}"
            data = {"height": sync.height, "target_height": sync.target_height}
            reasons.append(Reason("SYNCING", message, data))
        if (needed := self._finalizer.upgrade_needed) is not None:
            reasons.append(Reason(needed.code, needed.message, {"height": needed.data["height"]}))
        if (missing := self._override_missing()) is not None:
            reasons.append(Reason(missing.code, missing.message, missing.data))
        if self._causes is not None:
            reasons += self._causes.of_signer()
        if not self._transport.peers() and not alone:
            reasons.append(Reason("NO_PEERS", "no peer is connected"))
        if self._config.node.role == "validator" and consensus.reachable < consensus.quorum:
            message = consensus.stalled_reason or f"{consensus.reachable} validators are reachable"
            data = {"reachable": consensus.reachable, "quorum": consensus.quorum}
            reasons.append(Reason("NO_QUORUM", message, data))
        return reasons

    def _alarming(self) -> list[Reason]:
        """Causes of a stall, and blocks that do not come though they should."""
        late = late_block(
            age_ms=wall_clock_ms() - self._finalizer.head.header.timestamp_ms,
            period_ms=self._finalizer.genesis.parameters.empty_block_period_ms,
            waiting=len(self._admission.pool),
        )
        return self.stall_causes() if late is None else [*self.stall_causes(), late]

    def metrics_text(self) -> bytes:
        """See `NodeApi`."""
        self._gauges.refresh(self._peers())
        self._watch.refresh()
        return self._metrics.render()

    def _why_closed(self) -> str | None:
        """A node that is far behind would judge by an old state."""
        sync = self._sync.status()
        if not sync.syncing:
            return None
        return (
            f"this node is catching up: it is at block {sync.height}, its peers are at {sync.target_height}"
        )

    def _peers(self) -> list[PeerInfo]:
        return [self._peer(peer) for peer in self._transport.peers()]

    def _peer(self, peer: Connected) -> PeerInfo:
        """The registry's role goes before what the peer says of itself."""
        said = self._heads.peer(peer.peer_id)
        return PeerInfo(
            peer_id=peer.peer_id,
            direction=peer.direction.value,
            address=peer.addresses[0] if peer.addresses else "",
            role=self._role_of(peer.peer_id, None if said is None else said.role),
            name="" if said is None else said.name,
            height=None if said is None else said.height,
            rtt_ms=None if peer.rtt_ms is None else round(peer.rtt_ms),
            connected_since_ms=peer.connected_since_ms,
        )

    def _role_of(self, peer: PeerId, said: str | None) -> str:
        registered = self._permits.role_of(peer)
        return registered.name.lower() if registered is not None else said or "unknown"
