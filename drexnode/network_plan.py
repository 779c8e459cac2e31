"""A whole new network as a value: genesis document, demo wallets, and each node's keys and ports.

For devnets and tests: every secret is made here, in one place, from the entropy it is given, so that the same
entropy gives the same network. A production genesis is put together from public keys by `genesis new` alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import base58

from ledger.genesis_records import (
    GENESIS_VERSION,
    BcbGenesis,
    GenesisAsset,
    GenesisDocument,
    GenesisNode,
    GenesisOutput,
    GenesisParticipant,
    GenesisValidator,
    GenesisWallets,
)
from ledger.locks import KeyLeaf, key_lock
from ledger.parameters import BlockLimits, ChainParameters
from ledger.payloads import Holders, NodeRole, Role
from p2p.identity import peer_id_from_seed
from primitives.address import encode_address
from primitives.keys import SigningKey

DEVNET_PREFIX = "drexdev"
BCB_ISPB = "00038166"
STN_ISPB = "00394460"
BANK_A_ISPB = "11111111"
BANK_B_ISPB = "22222222"
BANK_A_DVT = f"BRL@{BANK_A_ISPB}/DVT"
BANK_B_DVT = f"BRL@{BANK_B_ISPB}/DVT"
WALLET_NAMES = (
    "bcb", "bcb-orders", "bcb-registry", "bcb-recovery", "stn", "bank-a", "bank-b", "alice", "bob",
)  # fmt: skip
RPC_PORT_OFFSET = 50
MAX_NODES = RPC_PORT_OFFSET

RoleName = Literal["validator", "full", "observer"]
_NODE_ROLES = {"validator": NodeRole.VALIDATOR, "full": NodeRole.FULL, "observer": NodeRole.OBSERVER}


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """One node: name, role, secrets, ports on loopback."""

    name: str
    role: RoleName
    peer_seed: bytes
    validator_seed: bytes | None
    p2p_port: int
    rpc_port: int

    @property
    def peer_id(self) -> str:
        """Its libp2p identity."""
        return peer_id_from_seed(self.peer_seed)

    @property
    def listen(self) -> str:
        """The multiaddress it listens on."""
        return f"/ip4/127.0.0.1/tcp/{self.p2p_port}"

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
) -> NetworkPlan:
    """Plan a network. Secrets follow from `entropy` (32 bytes); ports from `base_port`."""
    wallets = {wallet: SigningKey(_seed(entropy, "wallet", wallet)) for wallet in WALLET_NAMES}
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
        )
        for place, (role, node) in enumerate(names)
    )
    return NetworkPlan(_document(name, timestamp_ms, nodes, wallets), nodes, wallets)


def _seed(entropy: bytes, kind: str, name: str) -> bytes:
    return hashlib.sha256(b"drex/devnet" + entropy + f"/{kind}/{name}".encode()).digest()


def devnet_parameters(validators: int) -> ChainParameters:
    """A devnet's numbers: quick blocks, short timeouts, a small state tree."""
    return ChainParameters(
        limits=BlockLimits(max_bytes=2 << 20, max_transactions=4_000, max_signatures=8_000),
        min_block_interval_ms=200,
        empty_block_period_ms=5_000,
        base_timeout_ms=2_000,
        max_timeout_ms=8_000,
        max_clock_skew_ms=5_000,
        replay_window_blocks=10_000,
        recovery_delay_blocks=100,
        min_validators=min(validators, 3),
        bucket_count=4096,
    )


def _document(
    name: str, timestamp_ms: int, nodes: tuple[PlannedNode, ...], wallets: dict[str, SigningKey]
) -> GenesisDocument:
    leaf = {wallet: KeyLeaf(key.public_key) for wallet, key in wallets.items()}
    lock = {wallet: key_lock(key.public_key) for wallet, key in wallets.items()}
    validator_keys = sorted(
        SigningKey(node.validator_seed).public_key for node in nodes if node.validator_seed
    )
    bcb = BcbGenesis(
        ispb=BCB_ISPB,
        name="Banco Central do Brasil",
        emission=leaf["bcb"],
        orders=leaf["bcb-orders"],
        registry=leaf["bcb-registry"],
        recovery=leaf["bcb-recovery"],
        settlement_lock=lock["bcb"],
    )
    parties = (
        (STN_ISPB, "Tesouro Nacional", Role.STN, "stn"),
        (BANK_A_ISPB, "Banco A", Role.BANK, "bank-a"),
        (BANK_B_ISPB, "Banco B", Role.BANK, "bank-b"),
    )
    participants = [
        GenesisParticipant(ispb, title, role, leaf[wallet], lock[wallet], "", ())
        for ispb, title, role, wallet in parties
    ]
    return GenesisDocument(
        version=GENESIS_VERSION,
        name=name,
        address_prefix=DEVNET_PREFIX,
        timestamp_ms=timestamp_ms,
        parameters=devnet_parameters(len(validator_keys)),
        recovery=leaf["bcb-recovery"],
        bcb=bcb,
        participants=tuple(sorted(participants, key=lambda item: item.ispb)),
        assets=_assets(),
        wallets=(
            GenesisWallets(BANK_A_ISPB, tuple(sorted((lock["alice"], lock["bob"])))),
            GenesisWallets(BANK_B_ISPB, (lock["bob"],)),
        ),
        nodes=tuple(sorted((_node(node) for node in nodes), key=lambda item: item.peer_id)),
        validators=tuple(GenesisValidator(key, BCB_ISPB) for key in validator_keys),
        outputs=(
            GenesisOutput("BRL", 1_000_000_00, lock["bank-a"]),
            GenesisOutput("BRL", 1_000_000_00, lock["bank-b"]),
            GenesisOutput(BANK_A_DVT, 10_000_00, lock["alice"]),
        ),
    )


def _assets() -> tuple[GenesisAsset, ...]:
    def asset(name: str, issuer: str, holders: Holders) -> GenesisAsset:
        return GenesisAsset(
            name=name,
            issuer=issuer,
            decimals=2,
            cap=None,
            min_value=1,
            holders=holders,
            order_authority=issuer,
            burn_needs_issuer=True,
            standing_consent=True,
            reserve_lock=b"",
        )

    return (
        asset("BRL", BCB_ISPB, Holders.PARTICIPANTS),
        asset(BANK_A_DVT, BANK_A_ISPB, Holders.CLIENTS),
        asset(BANK_B_DVT, BANK_B_ISPB, Holders.CLIENTS),
    )


def _node(node: PlannedNode) -> GenesisNode:
    key = b"" if node.validator_seed is None else bytes(SigningKey(node.validator_seed).public_key)
    return GenesisNode(
        peer_id=base58.b58decode(node.peer_id),
        role=_NODE_ROLES[node.role],
        ispb=BCB_ISPB,
        addresses=(node.listen,),
        validator_key=key,
    )
