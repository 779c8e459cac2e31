"""What calls of the RPC answer, as typed values (`drexnode.client`).

Unknown fields are ignored, so that an older client reads a newer node. Amounts are integers of the smallest
unit, bytes are hex text as on the wire.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Amount = Annotated[
    int,
    msgspec.Meta(
        description="integer of the asset's smallest unit, as text",
        extra_json_schema={"pattern": "^-?[0-9]+$"},
    ),
]


class _Value(msgspec.Struct, frozen=True):
    """Base of results: unknown fields are ignored, so that an older client reads a newer node."""


class ProofAnswer(_Value, frozen=True):
    """A proof (docs/encodings.md, "Proofs") and the block it is of."""

    height: int
    block_id: str
    state_root: str
    size_bytes: int
    proof: str


class Unspent(_Value, frozen=True):
    """One unspent output."""

    txid: str
    index: int
    asset: str
    amount: Amount
    address: str
    note: str = ""
    height: int | None = None


class UnspentPage(_Value, frozen=True):
    """A page of unspent outputs; `cursor` is None on the last one."""

    height: int
    outputs: tuple[Unspent, ...]
    cursor: str | None
    address: str = ""


class Balance(_Value, frozen=True):
    """Of one asset, in smallest units."""

    total: Amount
    frozen: Amount
    free: Amount


class Status(_Value, frozen=True):
    """UNKNOWN, PENDING, FINAL (height, index, round, block_id) or REJECTED (code, reason)."""

    txid: str
    status: str
    height: int | None = None
    index: int | None = None
    block_id: str | None = None
    round: int | None = None
    code: str | None = None
    reason: str | None = None


class Sent(_Value, frozen=True):
    """The answer to one of many submitted transactions; `code` is None when it was taken."""

    txid: str | None
    code: str | None
    message: str | None = None
    data: dict[str, Any] | None = None


class Supply(_Value, frozen=True):
    """Of one asset, in smallest units."""

    asset: str
    height: int
    emitted: Amount
    burned: Amount
    circulating: Amount


class Asset(_Value, frozen=True):
    """A registered asset."""

    asset: str
    issuer: str
    decimals: int
    holders: str
    min_value: Amount
    paused: bool = False
    burn_needs_issuer: bool = False
    cap: Amount | None = None
    order_authority: str = ""
    standing_consent: bool = False
    reserve_address: str | None = None


class HistoryEntry(_Value, frozen=True):
    """A final transaction of an address."""

    height: int
    index: int
    txid: str


class HistoryPage(_Value, frozen=True):
    """A page of history, newest first."""

    height: int
    entries: tuple[HistoryEntry, ...]
    cursor: str | None
    address: str = ""


class BalanceChange(_Value, frozen=True):
    """How an asset under an address would rise (> 0) or fall (< 0)."""

    address: str
    asset: str
    amount: Amount


class Simulation(_Value, frozen=True):
    """What a transaction would do at `height`; when not `valid`, `code` and `message` say why."""

    txid: str | None
    height: int
    valid: bool
    changes: tuple[BalanceChange, ...] = ()
    code: str | None = None
    message: str | None = None
    data: dict[str, Any] | None = None


class Atomicity(_Value, frozen=True):
    """Whether all apply together; the last of `transactions` is the one refused when not `valid`."""

    valid: bool
    height: int
    transactions: tuple[Simulation, ...]


class ClientOf(_Value, frozen=True):
    """An institution that enabled a wallet, and who disabled it since."""

    issuer: str
    disabled_by: tuple[str, ...] = ()


class RegisteredWallet(_Value, frozen=True):
    """What the registry says of an address; `participant` for a participant's own lock."""

    address: str
    lock: str
    height: int
    participant: dict[str, Any] | None = None
    clients_of: tuple[ClientOf, ...] = ()


class StandingFreeze(_Value, frozen=True):
    """A freeze that stands; `order_id` in hex."""

    asset: str
    author: str
    order_id: str
    amount: Amount
