"""A transaction: its records, its ids, and reading it once from bytes.

Wire form = canonical MessagePack `[body, witness]`. `decode_transaction` reads the bytes once, refuses
everything that would not re-encode to itself, and hashes exactly the slices that were received. Guarantees
only the format; rules are in `ledger/checks.py` (without state) and `ledger/apply.py` (with state).
Bytes and ids: docs/encodings.md, "Transactions".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from ledger import codes
from ledger.locks import Bytes32, Condition, Height
from ledger.payloads import PAYLOAD_TYPES, Kind, Payload
from ledger.state import TransferPlan
from primitives.codec import Record, encode
from primitives.errors import DecodeError
from primitives.hashing import tagged_hasher
from primitives.limits import MAX_TRANSACTION_BYTES

VERSION = 1
EMPTY_PAYLOAD = b"\x90"

_hash_txid = tagged_hasher("drex/tx")
_hash_wtxid = tagged_hasher("drex/wtx")
_hash_sighash = tagged_hasher("drex/sign")

Signature64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
OutputIndex = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class OutPoint(Record, frozen=True):
    """Names an output: the transaction that made it and its place there."""

    txid: Bytes32
    index: OutputIndex


class Output(Record, frozen=True):
    """An amount of an asset under a lock. `value` is an integer; arrays are reserved."""

    asset: str
    value: int
    lock: Bytes32
    note: bytes


class Body(Record, frozen=True):
    """Everything a signature covers. `payload` is kept as its bytes; `Transaction.payload` is typed."""

    version: int
    kind: int
    inputs: tuple[OutPoint, ...]
    outputs: tuple[Output, ...]
    valid_from: Height
    valid_until: Height
    reference: bytes
    payload: msgspec.Raw


class Witness(Record, frozen=True):
    """The proof that the body is authorised: never part of the txid, always of the wtxid."""

    signatures: tuple[tuple[Bytes32, Signature64], ...]
    conditions: tuple[Condition, ...]
    preimages: tuple[bytes, ...]


class Transaction(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A decoded transaction. Equal wtxids mean equal bytes on one chain."""

    body: Body
    witness: Witness
    payload: Payload
    txid: bytes
    wtxid: bytes
    raw: bytes
    plan: TransferPlan | None = None
    """What admission worked out, for the block that will hold it: see `keep_plan`. No part of its value."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transaction) and self.wtxid == other.wtxid

    def __hash__(self) -> int:
        return hash(self.wtxid)

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return Kind(self.body.kind)

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return len(self.raw)

    @property
    def sighash(self) -> bytes:
        """The 32 bytes that every signature signs: H("drex/sign", txid)."""
        return _hash_sighash(self.txid)

    def outpoint(self, index: int) -> OutPoint:
        """The name of this transaction's output `index`."""
        return OutPoint(self.txid, index)


def keep_plan(transaction: Transaction, plan: TransferPlan | None) -> None:
    """Keep a plan with its transaction, or (None) let it go: the one thing about it that may change."""
    msgspec.structs.force_setattr(transaction, "plan", plan)


_decode_wire = msgspec.msgpack.Decoder(tuple[Body, Witness], strict=True).decode
_payload_decoders: dict[int, Callable[[bytes], Payload]] = {
    int(kind): msgspec.msgpack.Decoder(PAYLOAD_TYPES[kind]).decode for kind in Kind
}


def decode_transaction(data: bytes, chain_id: bytes) -> Transaction:
    """Read `data` (`[body, witness]`, canonical) as a transaction of the chain `chain_id`.

    Raises `DecodeError` with a code of the first group of `ledger/codes.py`, and nothing else.
    """
    if len(data) > MAX_TRANSACTION_BYTES:
        raise DecodeError(
            f"{len(data)} bytes, at most {MAX_TRANSACTION_BYTES} are accepted", code=codes.TOO_LARGE
        )
    try:
        body, witness = _decode_wire(data)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError, TypeError) as error:
        _refuse_unknown(data)
        raise DecodeError(_words(error), code=codes.MALFORMED) from None
    if body.version != VERSION:
        raise _unknown_version(body.version)
    if body.kind not in _payload_decoders:
        raise _unknown_kind(body.kind)
    body_bytes = encode(body)
    witness_bytes = encode(witness)
    if b"\x92" + body_bytes + witness_bytes != data:
        raise DecodeError("the bytes are not the canonical encoding", code=codes.NONCANONICAL)
    payload = _decode_payload(body)
    txid = _hash_txid(chain_id + body_bytes)
    return Transaction(body, witness, payload, txid, _hash_wtxid(txid + witness_bytes), data)


def make_transaction(body: Body, witness: Witness, chain_id: bytes) -> Transaction:
    """Put a body and a witness together; raises `DecodeError` when they would not decode."""
    return decode_transaction(encode((body, witness)), chain_id)


def txid_of(body: Body, chain_id: bytes) -> bytes:
    """txid = H("drex/tx", chain_id + body)."""
    return _hash_txid(chain_id + encode(body))


def sighash_of(body: Body, chain_id: bytes) -> bytes:
    """What a wallet signs for `body` on the chain `chain_id`."""
    return _hash_sighash(txid_of(body, chain_id))


def signature_checks(transaction: Transaction) -> list[tuple[bytes, bytes, bytes]]:
    """(public key, message, signature) of every signature carried; all must verify under ZIP-215.

    Cache the answer by `wtxid`, never by txid.
    """
    message = _hash_sighash(transaction.txid)
    return [(public_key, message, signature) for public_key, signature in transaction.witness.signatures]


def _decode_payload(body: Body) -> Payload:
    raw = bytes(body.payload)
    if raw == EMPTY_PAYLOAD and body.kind <= Kind.INTERBANK_TRANSFER:
        return ()
    try:
        payload = _payload_decoders[body.kind](raw)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError, TypeError) as error:
        raise DecodeError(_words(error), code=codes.PAYLOAD_INVALID) from None
    if encode(payload) != raw:
        raise DecodeError("the payload is not the canonical encoding", code=codes.NONCANONICAL)
    return payload


def _refuse_unknown(data: bytes) -> None:
    """Name an unknown version or kind, which may have another layout; return when both are known."""
    if len(data) < 4 or data[0] != 0x92 or data[1] & 0xF0 != 0x90:
        return
    version, kind = data[2], data[3]
    if version != VERSION and version < 0x80:
        raise _unknown_version(version)
    if kind not in _payload_decoders and kind < 0x80:
        raise _unknown_kind(kind)


def _unknown_version(version: int) -> DecodeError:
    return DecodeError(f"version {version}, expected {VERSION}", code=codes.VERSION_UNKNOWN)


def _unknown_kind(kind: int) -> DecodeError:
    return DecodeError(f"kind {kind}, expected 1 to {max(_payload_decoders)}", code=codes.KIND_UNKNOWN)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
