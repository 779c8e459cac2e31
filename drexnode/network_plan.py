"""A whole new network as a value: genesis document, demo wallets, and each node's keys and ports.

For devnets and tests: every secret is made here, in one place, from the entropy it is given, so that the same
entropy gives the same network. A production genesis is put together from public keys by `genesis new` alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ledger.devnet import DEVNET_WALLETS, DevnetNode, ed25519_peer_id, make_devnet_genesis
from ledger.genesis_records import GenesisDocument
from ledger.locks import key_lock
from ledger.payloads import NodeRole
from p2p.identity import peer_id_from_seed
from primitives.address import encode_address
from primitives.keys import SigningKey

LOOPBACK = "127.0.0.1"
RPC_PORT_OFFSET = 50
MAX_NODES = RPC_PORT_OFFSET

RoleName = Literal["validator", "full", "observer"]
_NODE_ROLES = {"validator": NodeRole.VALIDATOR, "full": NodeRole.FULL, "observer": NodeRole.OBSERVER}


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """One node: name, role, secrets, addresses and ports (on loopback, unless planned otherwise)."""

    name: str
    role: RoleName
    peer_seed: bytes
    validator_seed: bytes | None
    p2p_port: int
    rpc_port: int
    p2p_host: str = LOOPBACK
    rpc_host: str = LOOPBACK

    @property
    def peer_id(self) -> str:
        """Its libp2p identity."""
        return peer_id_from_seed(self.peer_seed)

    @property
    def listen(self) -> str:
        """The multiaddress it listens on."""
        return f"/ip4/{self.p2p_host}/tcp/{self.p2p_port}"

    @property
    def address(self) -> str:
        """The multiaddress others dial."""
        return f"{self.listen}/p2p/{self.peer_id}"


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A network before its first block."""

    document: GenesisDocument
    nodes: tuple[PlannedNode, ...]
    wallets: dict[str, SigningKey]

    def wallets_view(self) -> dict[str, dict[str, str]]:
        """`wallets.json`: open seeds, for a devnet alone."""
        prefix = self.document.address_prefix
        return {
            name: {
                "seed": key.seed.hex(),
                "public_key": key.public_key.hex(),
                "address": encode_address(prefix, key_lock(key.public_key)),
            }
            for name, key in self.wallets.items()
        }


def plan_network(
    *,
    validators: int,
    full: int,
    observers: int,
    base_port: int,
    entropy: bytes,
    timestamp_ms: int,
    name: str = "devnet",
    hosts: Sequence[tuple[str, str]] = (),
) -> NetworkPlan:
    """Plan a network. Secrets follow from `entropy` (32 bytes); ports from `base_port`.

    `hosts` are the IPv4 addresses of each node, in order, for peers and for RPC; without them all nodes are
    on loopback."""
    wallets = {wallet: SigningKey(_seed(entropy, "wallet", wallet)) for wallet in DEVNET_WALLETS}
    counts: tuple[tuple[RoleName, int], ...] = (
        ("validator", validators),
        ("full", full),
        ("observer", observers),
    )
    names = [(role, f"{role}-{number}") for role, count in counts for number in range(count)]
    nodes = tuple(
        PlannedNode(
            name=node,
            role=role,
            peer_seed=_seed(entropy, "peer", node),
            validator_seed=_seed(entropy, "validator", node) if role == "validator" else None,
            p2p_port=base_port + place,
            rpc_port=base_port + RPC_PORT_OFFSET + place,
            p2p_host=hosts[place][0] if hosts else LOOPBACK,
            rpc_host=hosts[place][1] if hosts else LOOPBACK,
        )
        for place, (role, node) in enumerate(names)
    )
    document = make_devnet_genesis(
        [_public(node) for node in nodes],
        {wallet: key.public_key for wallet, key in wallets.items()},
        timestamp_ms=timestamp_ms,
        name=name,
    )
    return NetworkPlan(document, nodes, wallets)


def _seed(entropy: bytes, kind: str, name: str) -> bytes:
    return hashlib.sha256(b"drex/devnet" + entropy + f"/{kind}/{name}".encode()).digest()


def _public(node: PlannedNode) -> DevnetNode:
    key = None if node.validator_seed is None else SigningKey(node.validator_seed).public_key
    peer_id = ed25519_peer_id(SigningKey(node.peer_seed).public_key)
    return DevnetNode(_NODE_ROLES[node.role], peer_id, (node.listen,), key)
