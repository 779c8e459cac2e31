"""Calls that need the admin credential, as values (`drexnode.client`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drexnode.client_call import Call

if TYPE_CHECKING:
    from drexnode.rpc import answers, answers_node


def propose_validator_vote(key: str, add: bool) -> Call[answers.VoteCast]:
    """Let the asked validator vote a key in or out; txid, voter, subject, expires. Needs the credential."""
    return Call("qbft_proposeValidatorVote", (key, add), dict[str, Any])


def discard_validator_vote(key: str) -> Call[answers.VoteTaken]:
    """Let the asked validator take its vote on a key back. Needs the credential."""
    return Call("qbft_discardValidatorVote", (key,), dict[str, Any])


def log_level(level: str) -> Call[str]:
    """Change the level of the node's log; needs the admin credential."""
    return Call("admin_logLevel", (level,), str)


def bans() -> Call[list[answers_node.Ban]]:
    """Peers that the node keeps out; needs the admin credential, as do the four below."""
    return Call("admin_bans", (), list[dict[str, Any]])


def unban(peer_id: str) -> Call[bool]:
    """Lift a ban; False when there was none."""
    return Call("admin_unban", (peer_id,), bool)


def add_peer(address: str) -> Call[bool]:
    """Keep a connection to a permitted peer until the node stops."""
    return Call("admin_addPeer", (address,), bool)


def remove_peer(peer_id: str, ban_ms: int = 0) -> Call[bool]:
    """Disconnect a peer, dial it no more, and keep it out for `ban_ms`."""
    return Call("admin_removePeer", (peer_id, ban_ms), bool)


def walk_to_peer(address: str, wait_s: float = 60.0) -> Call[list[answers_node.Step]]:
    """Walk the way to a peer: name, state, detail and elapsed_ms of each step."""
    return Call("admin_testPeer", (address,), list[dict[str, Any]], wait_s)


def peers() -> Call[list[answers_node.Peer]]:
    """Connected peers; needs the admin credential."""
    return Call("admin_peers", (), list[dict[str, Any]])


def node_info() -> Call[answers_node.NodeInfo]:
    """Who the node is, and how peers reach it."""
    return Call("admin_nodeInfo", (), dict[str, Any])


def begin_snapshot(folder: str) -> Call[answers_node.Job]:
    """Let the node write the tip's state to a new folder on its machine."""
    return Call("admin_snapshot", (folder,), dict[str, Any])


def begin_backup(folder: str, *, new_base: bool = False) -> Call[answers_node.Job]:
    """Let the node make or extend the backup in a folder on its machine."""
    return Call("admin_backup", (folder, new_base), dict[str, Any])


def begin_prune(kept_blocks: int) -> Call[answers_node.Job]:
    """Let the node drop the bodies of all but the last blocks."""
    return Call("admin_prune", (kept_blocks,), dict[str, Any])


def job() -> Call[answers_node.Job]:
    """How the node's last long work stands."""
    return Call("admin_job", (), dict[str, Any])
