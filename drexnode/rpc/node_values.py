"""What the RPC is told of the node, its peers and the validators (part of `drexnode.rpc.api.NodeApi`).

Frozen values; keys are bytes, times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["validator", "full", "observer"]


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
class PendingInfo:
    """One transaction that waits for a block. `kind` as `ledger.payloads.Kind` names it; `parents` are the
    waiting ones that it builds on; `participant` is the ispb whose room in the pool it takes."""

    txid: bytes
    wtxid: bytes
    kind: str
    size_bytes: int
    participant: str
    added_ms: int
    parents: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node is not ready: a stable code such as NO_QUORUM, SYNCING, NO_PEERS, HALTED, QUARANTINE, and a
    sentence."""

    code: str
    message: str
    data: Mapping[str, int | str | bool] = field(default_factory=dict)
