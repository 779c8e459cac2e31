"""What the RPC is told of the chain and of transactions (part of `drexnode.rpc.api.NodeApi`).

Frozen values; ids are bytes, times are milliseconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.errors import DrexError

Status = Literal["UNKNOWN", "PENDING", "FINAL", "REJECTED"]


@dataclass(frozen=True, slots=True)
class Tip:
    """The highest final block. `round` is the round that decided it (None for the genesis block)."""

    height: int
    block_id: bytes
    timestamp_ms: int
    state_root: bytes
    round: int | None = None


class Submitted(msgspec.Struct, frozen=True):
    """The fate of one submitted transaction: `error` is None when it was taken, or was known already.

    `txid` is None only when the bytes could not be decoded.
    """

    txid: bytes | None
    error: DrexError | None = None


@dataclass(frozen=True, slots=True)
class TransactionState:
    """FINAL carries height, index, block_id and round; REJECTED carries code and reason.

    REJECTED is this node's own memory: kept for an hour, answered only while no copy is pending or final.
    """

    txid: bytes
    status: Status
    height: int | None = None
    index: int | None = None
    block_id: bytes | None = None
    round: int | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """Bytes `[body, witness]` of a transaction, pending (height None) or final."""

    txid: bytes
    wtxid: bytes
    raw: bytes
    height: int | None = None
    index: int | None = None
    block_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A final block. `transactions` are raw `[body, witness]` bytes in block order, empty when not asked
    for."""

    header: BlockHeader
    block_id: bytes
    certificate: CommitCertificate | None  # None only for the genesis block
    txids: tuple[bytes, ...]
    transactions: tuple[bytes, ...] = ()
