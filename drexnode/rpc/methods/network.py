"""The node itself, its peers, its pool and where consensus stands."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from prometheus_client.parser import text_string_to_metric_families

from drexnode.rpc import answers, answers_node
from drexnode.rpc.api import NodeApi
from drexnode.rpc.cursor import read_pool_cursor, write_cursor
from drexnode.rpc.describe import open_rpc
from drexnode.rpc.errors import invalid_params
from drexnode.rpc.node_values import ConsensusStatus, PeerInfo
from drexnode.rpc.params import DEFAULT_ROWS, Cursor, Limit, ParamType
from drexnode.rpc.registry import METHODS, Context, method
from drexnode.rpc.views import pending_view
from drexnode.telemetry import LEVELS, set_level
from drexnode.version import VERSION, client_version


@method("web3_clientVersion", "text", str, rest="GET /version")
async def client_version_of(context: Context) -> str:
    """Name and version of the program."""
    return client_version()


@method("net_listening", "true or false", bool, rest="GET /listening")
async def net_listening(context: Context) -> bool:
    """True once the node listens for peers."""
    return context.api.started()


@method("net_peerCount", "integer", answers.Count, rest="GET /peer-count")
async def net_peer_count(context: Context) -> int:
    """Number of connected peers."""
    return len(await context.api.peers())


@method("admin_peers", "list of peers", list[answers_node.Peer], rest="GET /admin/peers", admin=True)
async def admin_peers(context: Context) -> list[dict[str, Any]]:
    """Connected peers with addresses, direction and round trip."""
    return [_peer(peer) for peer in await context.api.peers()]


def _peer(peer: PeerInfo) -> dict[str, Any]:
    return dataclasses.asdict(peer)


@method(
    "admin_nodeInfo",
    "{name, role, peer_id, addresses, …}",
    answers_node.NodeInfo,
    rest="GET /admin/node",
    admin=True,
)
async def admin_node_info(context: Context) -> dict[str, Any]:
    """Who this node is, and how peers reach it."""
    return _identity(context.api)


def _identity(api: NodeApi) -> dict[str, Any]:
    who = api.identity
    return {
        "name": who.name,
        "role": who.role,
        "network": who.network,
        "chain_id": who.chain_id.hex(),
        "address_prefix": who.address_prefix,
        "peer_id": who.peer_id,
        "listen_addresses": list(who.listen_addresses),
        "validator_key": None if who.validator_key is None else who.validator_key.hex(),
        "version": client_version(),
    }


@method(
    "txpool_status",
    "{transactions, size_bytes, max_transactions, max_bytes}",
    answers.PoolFill,
    rest="GET /pool",
)
async def txpool_status(context: Context) -> dict[str, int]:
    """How full the mempool is."""
    return dataclasses.asdict(context.api.pool())


@method(
    "txpool_content",
    "{transactions, cursor}",
    answers.PoolPage,
    rest="GET /pool/transactions",
    example=(None, 10),
)
async def txpool_content(
    context: Context, cursor: Cursor = None, limit: Limit = DEFAULT_ROWS
) -> dict[str, Any]:
    """Transactions that wait for a block at this node, the oldest first, page by page."""
    found = context.api.pending(read_pool_cursor(cursor), limit)
    last = found[-1] if len(found) == limit else None
    return {
        "transactions": [pending_view(item) for item in found],
        "cursor": None if last is None else write_cursor(last.added_ms, last.txid),
    }


@method(
    "drex_syncing",
    "false, or {height, target_height, …}",
    answers_node.SyncProgress | Literal[False],
    rest="GET /syncing",
)
async def syncing(context: Context) -> dict[str, Any] | bool:
    """False when the node is at its peers' tip."""
    status = context.api.sync()
    if not status.syncing:
        return False
    return {"height": status.height, "target_height": status.target_height, "peer_id": status.peer_id}


@method(
    "drex_getNetworkInfo",
    "{node, tip, consensus, sync, pool, peers, ready, reasons}",
    answers_node.NetworkInfo,
    rest="GET /network",
)
async def get_network_info(context: Context) -> dict[str, Any]:
    """All that `drexnode status` shows: node, tip, consensus, sync, pool, peers, and why it is not ready."""
    api = context.api
    tip, reasons = api.tip(), api.not_ready()
    return {
        "node": _identity(api),
        "tip": {
            "height": tip.height,
            "block_id": tip.block_id.hex(),
            "state_root": tip.state_root.hex(),
            "timestamp_ms": tip.timestamp_ms,
            "round": tip.round,
        },
        "consensus": consensus_view(api.consensus()),
        "sync": dataclasses.asdict(api.sync()),
        "pool": dataclasses.asdict(api.pool()),
        "peers": len(await api.peers()),
        "ready": not reasons,
        "reasons": [{"code": item.code, "message": item.message, **dict(item.data)} for item in reasons],
    }


def consensus_view(status: ConsensusStatus) -> dict[str, Any]:
    """Consensus as JSON: keys in hex."""
    return {
        "height": status.height,
        "round": status.round,
        "phase": status.phase,
        "proposer": None if status.proposer is None else status.proposer.hex(),
        "quorum": status.quorum,
        "reachable": status.reachable,
        "round_changes": status.round_changes,
        "stalled_reason": status.stalled_reason,
        "validators": [
            {**dataclasses.asdict(item), "public_key": item.public_key.hex()} for item in status.validators
        ],
    }


@method(
    "drex_getMetrics", "{name: [{labels, value}]}", dict[str, list[answers_node.Sample]], rest="GET /metrics"
)
async def get_metrics(context: Context) -> dict[str, list[dict[str, Any]]]:
    """Every metric of /metrics as JSON; values are text."""
    view: dict[str, list[dict[str, Any]]] = {}
    for family in text_string_to_metric_families(context.api.metrics_text().decode()):
        for sample in family.samples:
            view.setdefault(sample.name, []).append({"labels": sample.labels, "value": str(sample.value)})
    return view


def _level(value: Any, _: Context) -> str:
    if not isinstance(value, str) or value not in LEVELS:
        raise invalid_params(f"one of {', '.join(LEVELS)} is expected")
    return value


Level = Annotated[str, ParamType(_level, {"enum": list(LEVELS)})]


@method("admin_logLevel", "the level", str, rest="PUT /admin/log-level", admin=True, example=("debug",))
async def log_level(context: Context, level: Level) -> str:
    """Change the level of the node's log until it ends."""
    set_level(level)
    return level


@method("rpc.discover", "OpenRPC document", answers_node.OpenRpc, rest="GET /openrpc")
async def discover(context: Context) -> dict[str, Any]:
    """This list, as an OpenRPC document."""
    return open_rpc(VERSION)


@method("rpc_modules", "{module: version}", dict[str, str], rest="GET /modules")
async def rpc_modules(context: Context) -> dict[str, str]:
    """Families of methods this node has."""
    families = {name.split("_")[0] for name in METHODS if "_" in name}
    return dict.fromkeys(sorted(families), "1.0")
