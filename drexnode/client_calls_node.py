"""Calls on consensus, on the node and its pool, as values (`drexnode.client`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from drexnode.client_call import Call

if TYPE_CHECKING:
    from drexnode.rpc import answers, answers_node


def pending_votes() -> Call[list[answers.StandingVote]]:
    """Validator votes that stand: subject, voter, add, expires."""
    return Call("qbft_getPendingVotes", (), list[dict[str, Any]])


def evidence() -> Call[list[answers.EvidenceProof]]:
    """Proofs that a validator signed one step twice: validator, height, round, step, proof."""
    return Call("qbft_getEvidence", (), list[dict[str, Any]])


def explain_stall() -> Call[answers.Stall]:
    """Whether a block is wanted and can't come: stalled, code, reason, missing, causes, next, …"""
    return Call("qbft_explainStall", (), dict[str, Any])


def network_info() -> Call[answers_node.NetworkInfo]:
    """Node, tip, consensus, sync, pool and readiness."""
    return Call("drex_getNetworkInfo", (), dict[str, Any])


def metrics() -> Call[dict[str, list[answers_node.Sample]]]:
    """Every metric: name to samples of labels and value (text)."""
    return Call("drex_getMetrics", (), dict[str, list[dict[str, Any]]])


def protocol() -> Call[answers_node.Protocol]:
    """The protocol version in force, the next one, and which nodes know it."""
    return Call("drex_getProtocol", (), dict[str, Any])


def peer_count() -> Call[int]:
    """Number of connected peers."""
    return Call("net_peerCount", (), int)


def listening() -> Call[bool]:
    """True once the node listens for peers."""
    return Call("net_listening", (), bool)


def nodes() -> Call[list[answers_node.Node]]:
    """Every peer that the ledger permits."""
    return Call("drex_getNodes", (), list[dict[str, Any]])


def syncing() -> Call[answers_node.SyncProgress | Literal[False]]:
    """False at the peers' tip, else how far the node is."""
    return Call("drex_syncing", (), dict[str, Any] | bool)


def timeouts() -> Call[answers.Timeouts]:
    """How long round 0 waits, and the longest a round waits."""
    return Call("qbft_getRequestTimeoutSeconds", (), dict[str, Any])


def signer_metrics(first: int | str, last: int | str) -> Call[list[answers.SignerFigures]]:
    """Each validator's proposals and seals in a range of heights."""
    return Call("qbft_getSignerMetrics", (first, last), list[dict[str, Any]])


def overrides() -> Call[list[answers.OverrideRecord]]:
    """Recovery overrides of the validator set that the node follows."""
    return Call("qbft_getOverrides", (), list[dict[str, Any]])


def pool() -> Call[answers.PoolFill]:
    """How full the mempool is."""
    return Call("txpool_status", (), dict[str, Any])


def pool_content(cursor: str | None = None, limit: int = 100) -> Call[answers.PoolPage]:
    """Transactions that wait at the node, the oldest first."""
    return Call("txpool_content", (cursor, limit), dict[str, Any])


def node_version() -> Call[str]:
    """Name and version of the node's program."""
    return Call("web3_clientVersion", (), str)


def modules() -> Call[dict[str, str]]:
    """Families of methods that the node has."""
    return Call("rpc_modules", (), dict[str, str])


def open_rpc() -> Call[dict[str, Any]]:
    """The OpenRPC document of the node's methods."""
    return Call("rpc.discover", (), dict[str, Any])
