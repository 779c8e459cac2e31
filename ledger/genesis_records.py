"""The records of a genesis document, in the order in which they are encoded."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ledger.locks import Bytes32, Condition
from ledger.parameters import ChainParameters
from ledger.payloads import (
    Amount,
    AssetName,
    Decimals,
    Holders,
    Ispb,
    IspbOrNone,
    Name,
    NodeAddresses,
    NodeRole,
    OptionalLock,
    PeerIdBytes,
    Role,
)
from primitives.codec import Record
from primitives.keys import PublicKey

GENESIS_VERSION = 1


class BcbGenesis(Record, frozen=True):
    """Banco Central: three authorities, one recovery for all three, and where it holds BRL itself."""

    ispb: Ispb
    name: Name
    emission: Condition
    orders: Condition
    registry: Condition
    recovery: Condition
    settlement_lock: Bytes32


class GenesisParticipant(Record, frozen=True):
    """A bank, payment institution, infrastructure, regulator or the STN. `settlement_lock` is empty for an
    indirect participant, which names its sponsor; `locks` are its other own locks."""

    ispb: Ispb
    name: Name
    role: Role
    condition: Condition
    settlement_lock: OptionalLock
    sponsor: IspbOrNone
    locks: tuple[Bytes32, ...]


class GenesisAsset(Record, frozen=True):
    """An asset and its policy. `reserve_lock` is empty but for e-money."""

    name: AssetName
    issuer: Ispb
    decimals: Decimals
    cap: Amount | None
    min_value: Amount
    holders: Holders
    order_authority: Ispb
    burn_needs_issuer: bool
    standing_consent: bool
    reserve_lock: OptionalLock


class GenesisWallets(Record, frozen=True):
    """Locks that may hold the retail assets of `issuer`, ascending."""

    issuer: Ispb
    locks: tuple[Bytes32, ...]


class GenesisNode(Record, frozen=True):
    """A permitted peer; `validator_key` for a validator's node, else empty."""

    peer_id: PeerIdBytes
    role: NodeRole
    ispb: Ispb
    addresses: NodeAddresses
    validator_key: OptionalLock


class GenesisValidator(Record, frozen=True):
    """A key of the first validator set (and a candidate from then on), and who runs it."""

    public_key: PublicKey
    ispb: Ispb


class GenesisOutput(Record, frozen=True):
    """An unspent output at height 0. Its outpoint is (chain id, its place in the document)."""

    asset: AssetName
    value: Amount
    lock: Bytes32


class GenesisDocument(Record, frozen=True):
    """Everything a network agrees on before its first block. Lists ascend by their first field but for
    `outputs`."""

    version: int
    name: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]
    address_prefix: Annotated[str, Meta(pattern=r"^[a-z]{1,16}\Z")]
    timestamp_ms: int
    parameters: ChainParameters
    recovery: Condition  # signs an override of the validator set when more than f are lost for good
    bcb: BcbGenesis
    participants: tuple[GenesisParticipant, ...]
    assets: tuple[GenesisAsset, ...]
    wallets: tuple[GenesisWallets, ...]
    nodes: tuple[GenesisNode, ...]
    validators: tuple[GenesisValidator, ...]
    outputs: tuple[GenesisOutput, ...]
