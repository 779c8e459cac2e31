"""What this node refused, by wtxid, for an hour: an answer for whoever asks, never a verdict on the txid.

Bounded by count; the oldest go first. A refusal whose code speaks of the bytes alone (`lasting`) will be the
same for ever; every other one may have another answer at the next height.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger import codes
from ledger.transaction import Transaction
from primitives.limits import MAX_REJECTIONS, REJECTION_MEMORY_MS

LASTING_CODES = frozenset(
    {
        codes.BAD_SIGNATURE,
        codes.CONDITION_INVALID,
        codes.INPUTS_MISSING,
        codes.INPUTS_FORBIDDEN,
        codes.INPUT_DUPLICATE,
        codes.OUTPUTS_MISSING,
        codes.OUTPUTS_FORBIDDEN,
        codes.VALUE_RANGE,
        codes.SUM_OVERFLOW,
        codes.ASSET_NAME,
        codes.WITNESS_ORDER,
        codes.PREIMAGE_LENGTH,
        codes.REFERENCE_MISSING,
        codes.VALIDITY_RANGE,
        codes.VALIDITY_MISSING,
        codes.EXPIRED,
    }
)


class Rejection(NamedTuple):
    """A transaction as it was refused, and why."""

    txid: bytes
    wtxid: bytes
    code: str
    message: str
    at_ms: int

    @property
    def lasting(self) -> bool:
        """True when the same bytes can never be accepted on this chain."""
        return self.code in LASTING_CODES


class Refusals:
    """The memory of one node."""

    def __init__(self, max_count: int = MAX_REJECTIONS, memory_ms: int = REJECTION_MEMORY_MS) -> None:
        self._max_count = max_count
        self._memory_ms = memory_ms
        self._by_wtxid: dict[bytes, Rejection] = {}  # in order of refusal
        self._wtxids: dict[bytes, set[bytes]] = {}  # txid -> wtxids refused

    def __len__(self) -> int:
        return len(self._by_wtxid)

    def add(self, transaction: Transaction, code: str, message: str, now_ms: int) -> Rejection:
        """Remember a refusal; it replaces an earlier one of the same wtxid."""
        rejection = Rejection(transaction.txid, transaction.wtxid, code, message, now_ms)
        self._by_wtxid.pop(rejection.wtxid, None)
        self._by_wtxid[rejection.wtxid] = rejection
        self._wtxids.setdefault(rejection.txid, set()).add(rejection.wtxid)
        while len(self._by_wtxid) > self._max_count:
            self.clear(next(iter(self._by_wtxid)))
        return rejection

    def get(self, wtxid: bytes) -> Rejection | None:
        """Why exactly this transaction with this witness was refused, or None."""
        return self._by_wtxid.get(wtxid)

    def latest_of(self, txid: bytes) -> Rejection | None:
        """The last refusal of any witness of `txid`: an answer only while no copy is pending or final."""
        known = (self._by_wtxid[wtxid] for wtxid in self._wtxids.get(txid, ()))
        return max(known, key=lambda rejection: (rejection.at_ms, rejection.wtxid), default=None)

    def clear(self, wtxid: bytes) -> None:
        """Forget one refusal, for instance because the transaction is accepted now."""
        rejection = self._by_wtxid.pop(wtxid, None)
        if rejection is not None:
            others = self._wtxids[rejection.txid]
            others.discard(wtxid)
            if not others:
                del self._wtxids[rejection.txid]

    def forget(self, now_ms: int) -> None:
        """Forget what is older than the memory."""
        while self._by_wtxid:
            oldest = next(iter(self._by_wtxid.values()))
            if oldest.at_ms + self._memory_ms > now_ms:
                return
            self.clear(oldest.wtxid)
