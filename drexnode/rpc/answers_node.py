"""The shapes of what the RPC answers about the node, its peers and its operator's work.

See `drexnode/rpc/answers.py`.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from drexnode.rpc.answers import Count, Hash, PoolFill


class NodeInfo(TypedDict):
    """Who a node is, and how peers reach it."""

    name: str
    role: Literal["validator", "full", "observer"]
    network: str
    chain_id: Hash
    address_prefix: str
    peer_id: str
    listen_addresses: list[str]
    validator_key: Hash | None
    version: str


class TipInfo(TypedDict):
    """The highest final block."""

    height: Count
    block_id: Hash
    state_root: Hash
    timestamp_ms: Count
    round: Count | None


class ValidatorState(TypedDict):
    """A validator as the asked node sees it."""

    index: Count
    public_key: Hash
    name: str
    connected: bool
    last_signed_height: Count | None
    suspended_until: Count | None
    seen_round: Count | None


class ConsensusState(TypedDict):
    """Where the height being decided stands."""

    height: Count
    round: Count
    phase: str
    proposer: Hash | None
    quorum: Count
    reachable: Count
    round_changes: Count
    stalled_reason: str | None
    validators: list[ValidatorState]


class SyncProgress(TypedDict):
    """How far a node is that catches up, and from whom it fetches."""

    height: Count
    target_height: Count
    peer_id: str | None


class SyncState(SyncProgress):
    """The same with whether it catches up at all."""

    syncing: bool


class UnreadyReason(TypedDict):
    """Why a node is not ready; it may carry more fields, by its code."""

    code: str
    message: str


class NetworkInfo(TypedDict):
    """All that `drexnode status` shows."""

    node: NodeInfo
    tip: TipInfo
    consensus: ConsensusState
    sync: SyncState
    pool: PoolFill
    peers: Count
    ready: bool
    reasons: list[UnreadyReason]


class Sample(TypedDict):
    """One sample of a metric; the value is a number as text."""

    labels: dict[str, str]
    value: str


class Node(TypedDict):
    """A peer that the ledger permits."""

    peer_id: str
    role: str
    ispb: str
    addresses: list[str]
    validator_key: Hash | None
    connected: bool


class Peer(TypedDict):
    """A connected peer."""

    peer_id: str
    direction: Literal["inbound", "outbound"]
    address: str
    role: str
    name: str
    height: Count | None
    rtt_ms: Count | None
    connected_since_ms: Count | None


class Ban(TypedDict):
    """A peer that is kept out until a moment."""

    peer_id: str
    until_ms: Count
    reason: str


class Step(TypedDict):
    """One step of the way to a peer's tip."""

    name: str
    state: Literal["ok", "failed", "skipped"]
    detail: str
    elapsed_ms: Count


class Job(TypedDict):
    """How long work stands; `total` is 0 where nobody knows it."""

    kind: str
    state: Literal["idle", "running", "done", "failed"]
    folder: str
    what: str
    done: Count
    total: Count
    height: Count | None
    code: str | None
    reason: str | None


class NodeVersion(TypedDict):
    """A registered node, and the versions that it says it knows."""

    peer_id: str
    name: str
    role: str
    decides: bool
    program: str | None
    protocol: Count | None


class Protocol(TypedDict):
    """The protocol version at the tip, and the next one that is set."""

    height: Count
    version: Count
    next_version: Count | None
    next_height: Count | None
    supported: Count
    quorum: Count
    nodes: list[NodeVersion]


OpenRpc = dict[str, Any]
