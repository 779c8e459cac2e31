"""What wallets ask of the ledger itself: what a transaction would do, who may hold, what is frozen, votes.

Part of `NodeApi` (docs/rpc.md). Values that cross are frozen; amounts are integers of the smallest unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.proof import Proof, Question
from ledger.transaction import OutPoint
from ledger.votes import PendingVote
from primitives.errors import DrexError


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """How much an asset under a lock would rise (> 0) or fall (< 0)."""

    lock: bytes
    asset: str
    amount: int


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a transaction would do in the next block. `error` says why it would be refused; then nothing
    changes. `txid` is None only when the bytes could not be decoded."""

    txid: bytes | None
    height: int
    error: DrexError | None = None
    changes: tuple[BalanceChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Enabled:
    """An institution that enabled a client's wallet, and who disabled it since: "issuer", "bcb"."""

    issuer: str
    disabled_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WalletInfo:
    """What the registry says of a lock; `ispb` to `disabled_by` are of a participant's own lock."""

    height: int
    ispb: str | None = None
    purpose: str | None = None  # settlement | reserve | other
    reserve_of: str | None = None  # asset
    disabled_by: tuple[str, ...] = ()
    clients_of: tuple[Enabled, ...] = ()


@dataclass(frozen=True, slots=True)
class FreezeInfo:
    """One standing freeze."""

    asset: str
    author: str
    order_id: bytes
    amount: int


class LedgerReads(Protocol):
    """The ledger's part of `NodeApi`."""

    async def simulate(self, transactions: Sequence[bytes], *, together: bool) -> list[Simulated]:
        """What raw `[body, witness]` bytes would do in the next block, after pending parents.

        One answer each: `together` applies them in order, each seeing those before it, and ends with the
        first refusal; else each stands alone. Nothing is submitted or kept. Raises `DrexError`
        NODE_BUSY when blocks come faster than it can look.
        """

    async def wallet(self, lock: bytes) -> WalletInfo:
        """What the registry says of a lock."""

    async def frozen(self, lock: bytes) -> list[FreezeInfo]:
        """The freezes that stand on a lock, ascending by asset, author and order id."""

    async def prove(self, question: Question) -> Proof:
        """A proof as of the tip. Raises `DrexError`: PROOF_NO_BLOCK, PROOF_TOO_LARGE, SNAPSHOT_NO_PATH."""

    async def lock_of_output(self, outpoint: OutPoint) -> bytes:
        """The lock of an output that is or was unspent. Raises `DrexError`: PROOF_NEEDS_ADDRESS,
        BLOCK_PRUNED."""

    async def pending_votes(self) -> list[PendingVote]:
        """Every standing validator vote, ascending by subject and voter."""
