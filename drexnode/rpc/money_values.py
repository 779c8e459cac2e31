"""What the RPC is told of money, participants and assets (part of `drexnode.rpc.api.NodeApi`).

Frozen values; amounts are integers of the asset's smallest unit, locks are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UnspentOutput:
    """One unspent output of a lock."""

    txid: bytes
    index: int
    asset: str
    amount: int
    lock: bytes
    note: bytes = b""
    height: int | None = None  # of the block that made it, where the store knows it


@dataclass(frozen=True, slots=True)
class UnspentPage:
    """Outputs ascending by asset and outpoint; `height` is the tip they were read at; `after` is None on the
    last page."""

    height: int
    outputs: tuple[UnspentOutput, ...]
    after: bytes | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """Total and frozen amount of one asset under one lock; what is free is the difference, never below
    zero."""

    total: int
    frozen: int = 0


@dataclass(frozen=True, slots=True)
class Balances:
    """Balances of one lock by asset, at one height."""

    height: int
    assets: Mapping[str, Balance]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A final transaction that spent from or paid to a lock."""

    height: int
    index: int
    txid: bytes


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Entries newest first; `before` is the (height, index) to go on from, None on the last page."""

    height: int
    entries: tuple[HistoryEntry, ...]
    before: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Supply:
    """What was ever emitted and burned of an asset; circulating is the difference."""

    height: int
    emitted: int
    burned: int


@dataclass(frozen=True, slots=True)
class ParticipantInfo:
    """A registered participant: ispb of 8 characters, role as `ledger.payloads.Role` names it, in lower
    case.
    """

    ispb: str
    name: str
    role: str
    settlement_lock: bytes | None = None  # None for an indirect participant
    locks: tuple[bytes, ...] = ()  # its own registered locks, ascending
    sponsor: str | None = None  # ispb


@dataclass(frozen=True, slots=True)
class AssetInfo:
    """A registered asset and its policy; issuer and order authority are ispbs."""

    asset: str
    issuer: str
    decimals: int
    holders: str  # participants | clients | any
    order_authority: str
    cap: int | None = None
    min_value: int = 1
    paused: bool = False
    burn_needs_issuer: bool = False
    standing_consent: bool = False
    reserve_lock: bytes | None = None
