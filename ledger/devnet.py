"""The devnet's genesis document, made from public keys and peer ids alone: pure, the same for equal inputs.

A devnet is for one machine. Its wallets: `bcb` (emission, with BRL of its own), `bcb-orders`,
`bcb-registry`, `bcb-recovery`, `stn`, `bank-a`, `bank-b`, `alice` (client of bank-a, funded with its DVT) and
`bob` (client of bank-b, also enabled for bank-a's DVT). BRL comes from emission while the network runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.assets import WHOLESALE
from ledger.genesis_checks import check_genesis
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
from ledger.locks import Condition, KeyLeaf, key_lock, lock_of, threshold
from ledger.parameters import BlockLimits, ChainParameters
from ledger.payloads import Holders, NodeRole, Role
from primitives.hashing import tagged_hash
from primitives.keys import PublicKey
from primitives.limits import MIB

DEVNET_WALLETS = (
    "bcb",
    "bcb-orders",
    "bcb-registry",
    "bcb-recovery",
    "stn",
    "bank-a",
    "bank-b",
    "alice",
    "bob",
)
DEVNET_PREFIX = "drexdev"
DEVNET_TIMESTAMP_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
BCB_ISPB = "00038166"
STN_ISPB = "00394460"
BANK_A_ISPB = "99990001"
BANK_B_ISPB = "99990002"
BANK_A_DVT = f"BRL@{BANK_A_ISPB}/DVT"
BANK_B_DVT = f"BRL@{BANK_B_ISPB}/DVT"
BANK_A_MET = f"BRL@{BANK_A_ISPB}/MET"
BANK_B_MET = f"BRL@{BANK_B_ISPB}/MET"

DEVNET_PARAMETERS = ChainParameters(
    limits=BlockLimits(max_bytes=4 * MIB, max_transactions=4_000, max_signatures=8_000),
    min_block_interval_ms=50,
    empty_block_period_ms=5_000,
    base_timeout_ms=2_000,
    max_timeout_ms=16_000,
    max_clock_skew_ms=5_000,
    replay_window_blocks=10_000,
    recovery_delay_blocks=100,
    min_validators=1,
    bucket_count=16**3,
)

_ALICE_OUTPUTS = 4
_ALICE_OUTPUT_CENTAVOS = 250_000_00


@dataclass(frozen=True, slots=True)
class DevnetNode:
    """A node of the devnet as its peers see it; `validator_key` is None for a full node or observer."""

    role: NodeRole
    peer_id: bytes
    addresses: tuple[str, ...] = ()
    validator_key: PublicKey | None = None


def devnet_seed(name: str) -> bytes:
    """The 32-byte seed of a devnet wallet or node, known to everybody: H("drex/devnet-seed", name)."""
    return tagged_hash("drex/devnet-seed", name.encode())


def ed25519_peer_id(public_key: bytes) -> bytes:
    """The libp2p PeerId of an Ed25519 key: the identity multihash of its protobuf, 38 bytes."""
    return bytes.fromhex("002408011220") + public_key


def make_devnet_genesis(
    nodes: Sequence[DevnetNode],
    wallets: Mapping[str, PublicKey],
    *,
    timestamp_ms: int = DEVNET_TIMESTAMP_MS,
    parameters: ChainParameters = DEVNET_PARAMETERS,
    outputs: Sequence[GenesisOutput] | None = None,
    name: str = "devnet",
) -> GenesisDocument:
    """Make and check the document. `wallets` has a key for each of `DEVNET_WALLETS`; `outputs` replaces the
    funding of `alice`. Raises `KeyError` for a missing wallet, `DecodeError` (GENESIS_INVALID) otherwise."""
    keys = {wallet: wallets[wallet] for wallet in DEVNET_WALLETS}
    validator_keys = sorted(node.validator_key for node in nodes if node.validator_key is not None)
    document = GenesisDocument(
        version=GENESIS_VERSION,
        name=name,
        address_prefix=DEVNET_PREFIX,
        timestamp_ms=timestamp_ms,
        parameters=parameters,
        recovery=KeyLeaf(keys["bcb-recovery"]),
        bcb=_bcb(keys),
        participants=_participants(keys),
        assets=_assets(keys),
        wallets=_wallets(keys),
        nodes=tuple(sorted((_node(node) for node in nodes), key=lambda node: node.peer_id)),
        validators=tuple(GenesisValidator(key, BCB_ISPB) for key in validator_keys),
        outputs=tuple(_funding(keys) if outputs is None else outputs),
    )
    check_genesis(document)
    return document


def reserve_condition(bank_key: PublicKey) -> Condition:
    """The condition of a devnet bank's e-money reserve: 1 of its own key, and so a lock of its own."""
    return threshold(1, KeyLeaf(bank_key))


def _bcb(keys: Mapping[str, PublicKey]) -> BcbGenesis:
    return BcbGenesis(
        ispb=BCB_ISPB,
        name="Banco Central do Brasil",
        emission=KeyLeaf(keys["bcb"]),
        orders=KeyLeaf(keys["bcb-orders"]),
        registry=KeyLeaf(keys["bcb-registry"]),
        recovery=KeyLeaf(keys["bcb-recovery"]),
        settlement_lock=key_lock(keys["bcb"]),
    )


def _participants(keys: Mapping[str, PublicKey]) -> tuple[GenesisParticipant, ...]:
    rows = (
        (STN_ISPB, "Tesouro Nacional", Role.STN, "stn"),
        (BANK_A_ISPB, "Bank A", Role.BANK, "bank-a"),
        (BANK_B_ISPB, "Bank B", Role.BANK, "bank-b"),
    )
    return tuple(
        GenesisParticipant(ispb, name, role, KeyLeaf(keys[key]), key_lock(keys[key]), "", ())
        for ispb, name, role, key in rows
    )


def _assets(keys: Mapping[str, PublicKey]) -> tuple[GenesisAsset, ...]:
    reserve_a = lock_of(reserve_condition(keys["bank-a"]))
    reserve_b = lock_of(reserve_condition(keys["bank-b"]))
    return (
        _asset(WHOLESALE, BCB_ISPB, Holders.PARTICIPANTS),
        _asset(BANK_A_DVT, BANK_A_ISPB, Holders.CLIENTS),
        _asset(BANK_A_MET, BANK_A_ISPB, Holders.CLIENTS, reserve_a),
        _asset(BANK_B_DVT, BANK_B_ISPB, Holders.CLIENTS),
        _asset(BANK_B_MET, BANK_B_ISPB, Holders.CLIENTS, reserve_b),
    )


def _asset(name: str, issuer: str, holders: Holders, reserve_lock: bytes = b"") -> GenesisAsset:
    return GenesisAsset(
        name=name,
        issuer=issuer,
        decimals=2,
        cap=None,
        min_value=1,
        holders=holders,
        order_authority=issuer,
        burn_needs_issuer=True,
        standing_consent=holders is Holders.CLIENTS,
        reserve_lock=reserve_lock,
    )


def _wallets(keys: Mapping[str, PublicKey]) -> tuple[GenesisWallets, ...]:
    alice, bob = key_lock(keys["alice"]), key_lock(keys["bob"])
    return (
        GenesisWallets(BANK_A_ISPB, tuple(sorted((alice, bob)))),
        GenesisWallets(BANK_B_ISPB, (bob,)),
    )


def _node(node: DevnetNode) -> GenesisNode:
    return GenesisNode(node.peer_id, node.role, BCB_ISPB, node.addresses, bytes(node.validator_key or b""))


def _funding(keys: Mapping[str, PublicKey]) -> list[GenesisOutput]:
    lock = key_lock(keys["alice"])
    return [GenesisOutput(BANK_A_DVT, _ALICE_OUTPUT_CENTAVOS, lock) for _ in range(_ALICE_OUTPUTS)]
