"""What the RPC needs from a node, and nothing else (docs/rpc.md).

The RPC layer never touches a store, the pool or the engine: it reads and submits through `NodeApi`. Values
that
cross are frozen; amounts are integers of the asset's smallest unit; ids and keys are bytes; times are
milliseconds.
No method raises anything but `DrexError` (its code and data reach the caller as they are) for a refusal, and
`StorageFailure`, which also stops the node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from drexnode.rpc.ledger_api import LedgerReads
from drexnode.rpc.peering_api import PeeringApi
from drexnode.rpc.upgrade_api import UpgradeStatus
from ledger.override import Override
from ledger.payloads import VoteOperation
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.errors import DrexError
from primitives.validators import ValidatorSet

Role = Literal["validator", "full", "observer"]
Status = Literal["UNKNOWN", "PENDING", "FINAL", "REJECTED"]


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who this node is: fixed from its start to its end."""

    name: str
    role: Role
    chain_id: bytes
    genesis: bytes  # the genesis document's canonical bytes
    network: str
    address_prefix: str
    peer_id: str
    listen_addresses: tuple[str, ...]
    validator_key: bytes | None = None  # public key of a validator


@dataclass(frozen=True, slots=True)
class Tip:
    """The highest final block. `round` is the round that decided it (None for the genesis block)."""

    height: int
    block_id: bytes
    timestamp_ms: int
    state_root: bytes
    round: int | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The fate of one submitted transaction: `error` is None when it was taken, or was known already.

    `txid` is None only when the bytes could not be decoded.
    """

    txid: bytes | None
    error: DrexError | None = None


@dataclass(frozen=True, slots=True)
class TransactionState:
    """FINAL carries height, index, block_id and round; REJECTED carries code and reason.

    REJECTED is this node's own memory: kept for an hour, answered only while no copy is pending or final.
    """

    txid: bytes
    status: Status
    height: int | None = None
    index: int | None = None
    block_id: bytes | None = None
    round: int | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """Bytes `[body, witness]` of a transaction, pending (height None) or final."""

    txid: bytes
    wtxid: bytes
    raw: bytes
    height: int | None = None
    index: int | None = None
    block_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A final block. `transactions` are raw `[body, witness]` bytes in block order, empty when not asked
    for."""

    header: BlockHeader
    block_id: bytes
    certificate: CommitCertificate | None  # None only for the genesis block
    txids: tuple[bytes, ...]
    transactions: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class UnspentOutput:
    """One unspent output of a lock."""

    txid: bytes
    index: int
    asset: str
    amount: int
    lock: bytes
    note: bytes = b""
    height: int | None = None  # of the block that made it, where the store knows it


@dataclass(frozen=True, slots=True)
class UnspentPage:
    """Outputs ascending by asset and outpoint; `height` is the tip they were read at; `after` is None on the
    last page."""

    height: int
    outputs: tuple[UnspentOutput, ...]
    after: bytes | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """Total and frozen amount of one asset under one lock; what is free is the difference, never below
    zero."""

    total: int
    frozen: int = 0


@dataclass(frozen=True, slots=True)
class Balances:
    """Balances of one lock by asset, at one height."""

    height: int
    assets: Mapping[str, Balance]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A final transaction that spent from or paid to a lock."""

    height: int
    index: int
    txid: bytes


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Entries newest first; `before` is the (height, index) to go on from, None on the last page."""

    height: int
    entries: tuple[HistoryEntry, ...]
    before: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Supply:
    """What was ever emitted and burned of an asset; circulating is the difference."""

    height: int
    emitted: int
    burned: int


@dataclass(frozen=True, slots=True)
class ParticipantInfo:
    """A registered participant: ispb of 8 characters, role as `ledger.payloads.Role` names it, in lower
    case.
    """

    ispb: str
    name: str
    role: str
    settlement_lock: bytes | None = None  # None for an indirect participant
    locks: tuple[bytes, ...] = ()  # its own registered locks, ascending
    sponsor: str | None = None  # ispb


@dataclass(frozen=True, slots=True)
class AssetInfo:
    """A registered asset and its policy; issuer and order authority are ispbs."""

    asset: str
    issuer: str
    decimals: int
    holders: str  # participants | clients | any
    order_authority: str
    cap: int | None = None
    min_value: int = 1
    paused: bool = False
    burn_needs_issuer: bool = False
    standing_consent: bool = False
    reserve_lock: bytes | None = None


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One connected, authenticated peer."""

    peer_id: str
    direction: Literal["inbound", "outbound"]
    address: str
    role: str = "unknown"
    name: str = ""
    height: int | None = None
    rtt_ms: int | None = None
    connected_since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ValidatorInfo:
    """One validator of the current set as this node sees it.

    `connected` is True for the node itself. `last_signed_height` is the highest certificate that carries its
    seal.
    """

    index: int
    public_key: bytes
    name: str = ""
    connected: bool = False
    last_signed_height: int | None = None
    suspended_until: int | None = None
    seen_round: int | None = None  # round of its last message at the height being decided


@dataclass(frozen=True, slots=True)
class ConsensusStatus:
    """Where the height being decided stands.

    `phase` is one of: observing, syncing, waiting (nothing to propose), proposing, preparing, committing,
    changing_round, halted. `stalled_reason` is a sentence when no block can come although one is wanted
    (for example: "2 of 4 validators reachable, 3 are needed: validator-2, validator-3 are missing"), else
    None.
    """

    height: int
    round: int
    phase: str
    proposer: bytes | None
    quorum: int
    reachable: int  # validators connected, the node itself included
    validators: tuple[ValidatorInfo, ...]
    stalled_reason: str | None = None
    round_changes: int = 0  # since start


@dataclass(frozen=True, slots=True)
class EvidenceInfo:
    """A validator signed one step twice. `step` is 0 ROUND_CHANGE, 1 PROPOSAL, 2 PREPARE, 3 COMMIT;
    `raw` is the whole proof, which anyone can check (docs/encodings-consensus.md, "Evidence")."""

    validator: bytes
    height: int
    round: int
    step: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class CastVote:
    """A vote that this validator cast. `warning` says why it may be unwise, None when nothing does."""

    txid: bytes
    voter: bytes
    expires: int
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """`syncing` while blocks are fetched from others; `target_height` is the highest tip a peer has shown."""

    syncing: bool
    height: int
    target_height: int
    peer_id: str | None = None


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """Transactions waiting for a block."""

    transactions: int
    size_bytes: int
    max_transactions: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node is not ready: a stable code such as NO_QUORUM, SYNCING, NO_PEERS, HALTED, QUARANTINE, and a
    sentence."""

    code: str
    message: str
    data: Mapping[str, int | str | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A long work for the operator. `state` is idle, running, done or failed (then with code and reason);
    `total` is 0 where nobody knows it; `height` is that of what was made."""

    kind: str
    state: str
    folder: str = ""
    what: str = ""
    done: int = 0
    total: int = 0
    height: int | None = None
    code: str | None = None
    reason: str | None = None


class MaintenanceApi(Protocol):
    """Long work that a node does for its operator, one at a time. Folders are on the node's machine.

    What begins a job raises `DrexError`: JOB_RUNNING, JOB_FOLDER, NODE_STOPPED."""

    def snapshot(self, folder: str) -> JobStatus:
        """Begin to write the state of the tip to a new folder."""

    def backup(self, folder: str, *, new_base: bool) -> JobStatus:
        """Begin to make or extend the backup in a folder; `new_base` begins it anew from the tip's state."""

    def prune(self, kept_blocks: int) -> JobStatus:
        """Begin to let the bodies of all but the last blocks go; `height` is then the lowest with bodies.

        Raises `DrexError`: PRUNE_ARCHIVE, PRUNE_TOO_FEW."""

    def status(self) -> JobStatus:
        """How the last job stands."""


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

    def started(self) -> bool:
        """True once recovery is over and the node talks to peers (`/startupz`)."""

    def not_ready(self) -> list[Reason]:
        """Empty when the node is ready to serve (`/readyz`)."""

    def halt(self, failure: DrexError) -> None:
        """Stop the node: a read met a `StorageFailure` or an `InvariantViolation`."""

    def metrics_text(self) -> bytes:
        """All metrics in the Prometheus text format, gauges brought up to date."""
