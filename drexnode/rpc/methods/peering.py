"""Peers for the operator: who is registered, bans, whom to keep connected, and testing the way to one."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from drexnode.rpc import answers_node
from drexnode.rpc.errors import invalid_params
from drexnode.rpc.examples import PEER_ADDRESS, PEER_ID
from drexnode.rpc.params import ParamType
from drexnode.rpc.registry import Context, method
from primitives.limits import MAX_BAN_MS

MAX_ADDRESS_CHARS = 512


def _text(value: Any, _: Context) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ADDRESS_CHARS:
        raise invalid_params(f"text of at most {MAX_ADDRESS_CHARS} characters is expected")
    return value


def _ban_ms(value: Any, _: Context) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_BAN_MS:
        raise invalid_params(f"milliseconds are expected, 0 … {MAX_BAN_MS}")
    return value


Peer = Annotated[str, ParamType(_text, {"type": "string", "description": "peer id"})]
Multiaddr = Annotated[str, ParamType(_text, {"type": "string", "description": "/ip4/…/tcp/…/p2p/…"})]
BanMs = Annotated[int, ParamType(_ban_ms, {"type": "integer", "minimum": 0, "maximum": MAX_BAN_MS})]


@method(
    "drex_getNodes",
    "list of {peer_id, role, ispb, addresses, validator_key, connected}",
    list[answers_node.Node],
    rest="GET /nodes",
)
async def nodes(context: Context) -> list[dict[str, Any]]:
    """Every peer that the ledger permits, and whether it is connected to this node."""
    return [
        {
            **dataclasses.asdict(node),
            "validator_key": None if node.validator_key is None else node.validator_key.hex(),
        }
        for node in context.api.peering.nodes()
    ]


@method(
    "admin_bans",
    "list of {peer_id, until_ms, reason}",
    list[answers_node.Ban],
    rest="GET /admin/bans",
    admin=True,
)
async def bans(context: Context) -> list[dict[str, Any]]:
    """Peers that this node keeps out for a while, until when and why."""
    return [dataclasses.asdict(ban) for ban in context.api.peering.bans()]


@method(
    "admin_unban",
    "true if there was a ban",
    bool,
    rest="DELETE /admin/bans/{peer_id}",
    admin=True,
    example=(PEER_ID,),
)
async def unban(context: Context, peer_id: Peer) -> bool:
    """Lift a ban before its time."""
    return context.api.peering.unban(peer_id)


@method(
    "admin_addPeer",
    "true if it was not kept already",
    bool,
    rest="POST /admin/peers",
    admin=True,
    example=(PEER_ADDRESS,),
)
async def add_peer(context: Context, address: Multiaddr) -> bool:
    """Keep a connection to a permitted peer until the node stops."""
    return context.api.peering.add(address)


@method(
    "admin_removePeer",
    "true if it was connected or kept",
    bool,
    rest="DELETE /admin/peers/{peer_id}",
    admin=True,
    example=(PEER_ID, 1_000),
)
async def remove_peer(context: Context, peer_id: Peer, ban_ms: BanMs = 0) -> bool:
    """Dial a peer no longer and disconnect it; with `ban_ms` also keep it out for so long."""
    return context.api.peering.remove(peer_id, ban_ms)


@method(
    "admin_testPeer",
    "list of {name, state, detail, elapsed_ms}",
    list[answers_node.Step],
    rest="POST /admin/peer-tests",
    admin=True,
    example=(PEER_ADDRESS,),
)
async def test_peer(context: Context, address: Multiaddr) -> list[dict[str, Any]]:
    """Walk name, tcp, noise, identity, permission, chain and height of a peer; a failed step says why."""
    return [dataclasses.asdict(step) for step in await context.api.peering.test(address)]
