"""What the RPC needs from a node, and nothing else (docs/rpc.md).

The RPC layer never touches a store, the pool or the engine: it reads and submits through `NodeApi`. Values
that cross are frozen; amounts are integers of the asset's smallest unit; ids and keys are bytes; times are
milliseconds. No method raises anything but `DrexError` (its code and data reach the caller as they are) for a
refusal, and `StorageFailure`, which also stops the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from drexnode.rpc.chain_values import StoredBlock, StoredTransaction, Submitted, Tip, TransactionState
from drexnode.rpc.events_api import EventLog
from drexnode.rpc.ledger_api import LedgerReads
from drexnode.rpc.maintenance_api import MaintenanceApi
from drexnode.rpc.money_values import AssetInfo, Balances, HistoryPage, ParticipantInfo, Supply, UnspentPage
from drexnode.rpc.node_values import (
    CastVote,
    ConsensusStatus,
    EvidenceInfo,
    NodeIdentity,
    PeerInfo,
    PendingInfo,
    PoolStatus,
    Reason,
    SyncStatus,
)
from drexnode.rpc.peering_api import PeeringApi
from drexnode.rpc.upgrade_api import UpgradeStatus
from ledger.override import Override
from ledger.payloads import VoteOperation
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.errors import DrexError
from primitives.validators import ValidatorSet


class NodeApi(LedgerReads, Protocol):
    """A running node, seen from its RPC. Every method answers at once, but the two that wait for an event."""

    @property
    def identity(self) -> NodeIdentity:
        """Who the node is."""

    @property
    def maintenance(self) -> MaintenanceApi:
        """What an operator may ask of it."""

    @property
    def peering(self) -> PeeringApi:
        """What an operator sees of peers, and asks of them."""

    def upgrade(self) -> UpgradeStatus:
        """Which protocol version holds and comes, and which registered nodes know it."""

    # --- transactions ---------------------------------------------------------------------------------------

    async def submit(self, transactions: Sequence[bytes]) -> list[Submitted]:
        """Admit raw `[body, witness]` bytes; one answer each, in order; never raises for a bad transaction.

        Hundreds a call are normal: verified in batches, handed to the pool as one list, gossiped as one
        batch.
        A known transaction answers with its id again. Raises `DrexError` NODE_OBSERVER on an observer and
        NODE_NOT_READY while the node may not accept.
        """

    async def transaction_state(self, txid: bytes) -> TransactionState:
        """The state of a transaction as this node knows it."""

    async def wait_final(self, txid: bytes, timeout_ms: int) -> TransactionState:
        """Return once the transaction is FINAL or REJECTED, or its state when the time is over.

        Driven by events (a decided block, a refusal), never by polling. UNKNOWN ids are waited for as well.
        """

    async def transaction(self, txid: bytes) -> StoredTransaction | None:
        """A final or pending transaction."""

    async def transaction_by_reference(self, asset: str, reference: bytes) -> bytes | None:
        """Txid of the emission of `asset` that carries `reference`."""

    # --- chain ----------------------------------------------------------------------------------------------

    def tip(self) -> Tip:
        """The highest final block (the genesis block, height 0, on a new chain)."""

    async def wait_height(self, height: int) -> Tip:
        """Return the tip as soon as its height is at least `height`."""

    async def block_by_height(self, height: int, *, full: bool) -> StoredBlock | None:
        """A final block; bodies only when `full`."""

    async def block_by_id(self, block_id: bytes, *, full: bool) -> StoredBlock | None:
        """A final block; bodies only when `full`."""

    async def headers(self, first: int, last: int) -> list[BlockHeader]:
        """Headers of heights first … last, both included and already bounded; ends early at the tip."""

    async def certificate(self, height: int) -> CommitCertificate | None:
        """The commit certificate that made a height final."""

    async def validators_at(self, height: int) -> ValidatorSet | None:
        """The set that decides `height` (the tip's height + 1 included)."""

    def overrides(self) -> tuple[Override, ...]:
        """The recovery overrides that this node follows, ascending by height."""

    # --- money ----------------------------------------------------------------------------------------------

    async def balances(self, lock: bytes) -> Balances:
        """All assets under a lock, from the running sums in the state."""

    async def unspent(
        self, lock: bytes, asset: str | None, *, height: int | None, after: bytes | None, limit: int
    ) -> UnspentPage:
        """Unspent outputs of a lock after an outpoint (txid ‖ index, 36 bytes).

        `height` None reads at the tip; a height asks for the same view as an earlier page and raises
        `DrexError`
        CURSOR_EXPIRED when that view is gone.
        """

    async def history(
        self, lock: bytes, *, height: int | None, before: tuple[int, int] | None, limit: int
    ) -> HistoryPage:
        """Final transactions that touched a lock up to `height` (None: the tip), newest first."""

    async def supply(self, asset: str) -> Supply | None:
        """Emitted and burned of a registered asset; None when no such asset is registered."""

    async def assets(self) -> list[AssetInfo]:
        """All registered assets, ascending by name."""

    async def participants(self) -> list[ParticipantInfo]:
        """All registered participants, ascending by ispb."""

    # --- network and node -----------------------------------------------------------------------------------

    async def peers(self) -> list[PeerInfo]:
        """Connected peers, ascending by id."""

    def consensus(self) -> ConsensusStatus:
        """Where consensus stands."""

    def stall_causes(self) -> list[Reason]:
        """Why no block comes, or why this validator has no part in it; empty when nothing is in the way."""

    async def cast_vote(self, subject: bytes, operation: VoteOperation) -> CastVote:
        """Vote with this validator's key. Raises `DrexError` NODE_NOT_VALIDATOR, SIGNER_UNREACHABLE, TX_*."""

    def evidence(self) -> tuple[EvidenceInfo, ...]:
        """What this node keeps against validators, by height, round and step; empty where none votes."""

    def sync(self) -> SyncStatus:
        """Where catching up stands."""

    def pool(self) -> PoolStatus:
        """The mempool's fill."""

    def pending(self, after: tuple[int, bytes] | None, limit: int) -> list[PendingInfo]:
        """Waiting transactions, the oldest first: those after (added_ms, txid) of an earlier answer. One that
        left the pool meanwhile is no loss: what came in at its moment or later is listed."""

    def events(self, kind: str) -> EventLog:
        """What the node remembers of `consensus` or `alerts`."""

    def started(self) -> bool:
        """True once recovery is over and the node talks to peers (`/startupz`)."""

    def not_ready(self) -> list[Reason]:
        """Empty when the node is ready to serve (`/readyz`)."""

    def halt(self, failure: DrexError) -> None:
        """Stop the node: a read met a `StorageFailure` or an `InvariantViolation`."""

    def metrics_text(self) -> bytes:
        """All metrics in the Prometheus text format, gauges brought up to date."""
