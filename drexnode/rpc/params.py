"""Parameter types of the RPC: each reads one JSON value strictly and describes itself as JSON schema.

A type is an `Annotated[python type, ParamType]`; the registry reads it off a handler's signature. Every
reader raises `RpcError` RPC_INVALID_PARAMS, says what was expected, and bounds what it accepts.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from drexnode.rpc.errors import invalid_params, too_large
from primitives.address import decode_address
from primitives.errors import DecodeError
from primitives.limits import (
    MAX_ASSET_NAME_BYTES,
    MAX_HEIGHT,
    MAX_REFERENCE_BYTES,
)

if TYPE_CHECKING:
    from drexnode.rpc.registry import Context

HASH_CHARS = 64
MAX_ADDRESS_CHARS = 90
MAX_CURSOR_CHARS = 256
DEFAULT_ROWS = 100


@dataclass(frozen=True, slots=True)
class ParamType:
    """How one JSON value is read, and its schema."""

    read: Callable[[Any, Context], Any]
    schema: dict[str, Any]

    @property
    def text_schema(self) -> dict[str, Any]:
        """The schema where the value is text in a path or a query: null is what is left out."""
        kinds = self.schema.get("type")
        if not isinstance(kinds, list):
            return self.schema
        return {**self.schema, "type": next(kind for kind in kinds if kind != "null")}


def _text(value: Any, what: str, max_chars: int) -> str:
    if not isinstance(value, str) or len(value) > max_chars:
        raise invalid_params(f"{what} is expected as text of at most {max_chars} characters")
    return value


def read_hex(value: Any, what: str, max_bytes: int) -> bytes:
    """Bytes from hex, lower or upper case, with or without `0x`. Raises `RpcError`."""
    if not isinstance(value, str):
        raise invalid_params(f"{what} is expected as hex text")
    digits = value[2:] if value[:2] in ("0x", "0X") else value
    if len(digits) > 2 * max_bytes:
        raise invalid_params(f"{what} is longer than {max_bytes} bytes")
    try:
        return unhexlify(digits)  # unlike bytes.fromhex it takes no white space
    except ValueError:
        raise invalid_params(f"{what} is expected as hex: an even number of characters 0-9 a-f") from None


def _hash32(value: Any, _: Context) -> bytes:
    data = read_hex(value, "an id", 32)
    if len(data) != 32:
        raise invalid_params(f"an id has {HASH_CHARS} hex characters, not {2 * len(data)}")
    return data


def read_height(value: Any, tip: int) -> int:
    """A height: an integer, decimal or 0x text, "latest" or "earliest". Raises `RpcError`."""
    if value == "latest":
        return tip
    if value == "earliest":
        return 0
    if isinstance(value, str) and len(value) <= 20 and value.isascii():
        try:
            value = int(value, 16 if value[:2] in ("0x", "0X") else 10)
        except ValueError:
            raise invalid_params('a height is expected: an integer, or "latest"') from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid_params('a height is expected: an integer, or "latest"')
    if not 0 <= value <= MAX_HEIGHT:
        raise invalid_params(f"a height is 0 … {MAX_HEIGHT}")
    return value


def _height(value: Any, context: Context) -> int:
    return read_height(value, context.api.tip().height)


def _bool(value: Any, _: Context) -> bool:
    if not isinstance(value, bool):
        raise invalid_params("true or false is expected")
    return value


def _address(value: Any, context: Context) -> bytes:
    text = _text(value, "an address", MAX_ADDRESS_CHARS)
    try:
        return decode_address(context.api.identity.address_prefix, text)
    except DecodeError as error:
        raise invalid_params(error.message, cause=error.code) from None


def _asset(value: Any, _: Context) -> str:
    return _text(value, "an asset", MAX_ASSET_NAME_BYTES)


def _maybe_asset(value: Any, context: Context) -> str | None:
    return None if value is None else _asset(value, context)


def _cursor(value: Any, _: Context) -> str | None:
    return None if value is None else _text(value, "a cursor", MAX_CURSOR_CHARS)


def _reference(value: Any, _: Context) -> bytes:
    return read_hex(value, "a reference", MAX_REFERENCE_BYTES)


def _raw_transaction(value: Any, context: Context) -> bytes:
    """Bounded by the body alone: what is too large for a transaction is refused by the ledger's own code."""
    return read_hex(value, "a transaction", context.config.max_body_bytes)


def _raw_transactions(value: Any, context: Context) -> list[bytes]:
    if not isinstance(value, list):
        raise invalid_params("a list of transactions in hex is expected")
    limit = context.config.max_transactions
    if len(value) > limit:
        raise too_large("transactions in one call", len(value), limit)
    return [_raw_transaction(item, context) for item in value]


def _timeout(value: Any, context: Context) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid_params("a timeout is expected in milliseconds, 0 or more")
    return min(value, context.config.max_wait_ms)


def _limit(value: Any, context: Context) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise invalid_params("a limit is expected: 1 or more")
    if value > context.config.max_range:
        raise too_large("rows in one answer", value, context.config.max_range)
    return value


@dataclass(frozen=True, slots=True)
class ProofOf:
    """What a proof is asked for: an output (its lock may be left to the node), an address, or a supply."""

    outpoint: tuple[bytes, int] | None = None
    lock: bytes | None = None
    supply: str | None = None


def _proof_of(value: Any, context: Context) -> ProofOf:
    known = {"output", "address", "supply"}
    if not isinstance(value, dict) or not value or not value.keys() <= known or not _fits(value):
        shapes = '{"output": "TXID:INDEX", "address"?: …}, {"address": …} or {"supply": ASSET}'
        raise invalid_params(f"one of these is expected: {shapes}")
    lock = _address(value["address"], context) if "address" in value else None
    supply = _asset(value["supply"], context) if "supply" in value else None
    return ProofOf(_outpoint(value["output"]) if "output" in value else None, lock, supply)


def _fits(value: dict[str, Any]) -> bool:
    return value.keys() == {"supply"} or "supply" not in value


def _outpoint(value: Any) -> tuple[bytes, int]:
    txid, colon, index = _text(value, "an output", HASH_CHARS + 11).partition(":")
    if not colon or not index.isascii() or not index.isdigit() or int(index) >= 2**32:
        raise invalid_params("an output is expected as TXID:INDEX")
    data = read_hex(txid, "an id", 32)
    if len(data) != 32:
        raise invalid_params(f"an id has {HASH_CHARS} hex characters, not {2 * len(data)}")
    return data, int(index)


_HEX = {"type": "string", "pattern": "^(0[xX])?([0-9a-fA-F]{2})*$"}
_HASH = {"type": "string", "pattern": "^(0[xX])?[0-9a-fA-F]{64}$"}
_HEIGHT = {
    "description": 'A height, or "latest" or "earliest".',
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MAX_HEIGHT},
        {"type": "string", "pattern": "^(latest|earliest|[0-9]{1,18}|0[xX][0-9a-fA-F]{1,15})$"},
    ],
}
_ADDRESS = {"type": "string", "description": "bech32m", "maxLength": MAX_ADDRESS_CHARS}
_ASSET = {"type": "string", "maxLength": MAX_ASSET_NAME_BYTES}
_OUTPOINT = {"type": "string", "pattern": "^(0[xX])?[0-9a-fA-F]{64}:[0-9]{1,10}$"}
_CURSOR = {"type": ["string", "null"], "maxLength": MAX_CURSOR_CHARS}
_PROOF_OF = {
    "description": "An output (with its address, where the node does not know it), an address, or a supply.",
    "oneOf": [
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["output"],
            "properties": {"output": _OUTPOINT, "address": _ADDRESS},
        },
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["address"],
            "properties": {"address": _ADDRESS},
        },
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["supply"],
            "properties": {"supply": _ASSET},
        },
    ],
}

Hash32 = Annotated[bytes, ParamType(_hash32, _HASH)]
Height = Annotated[int, ParamType(_height, _HEIGHT)]
Flag = Annotated[bool, ParamType(_bool, {"type": "boolean"})]
Address = Annotated[bytes, ParamType(_address, _ADDRESS)]
Asset = Annotated[str, ParamType(_asset, _ASSET)]
MaybeAsset = Annotated[str | None, ParamType(_maybe_asset, {**_ASSET, "type": ["string", "null"]})]
Cursor = Annotated[str | None, ParamType(_cursor, _CURSOR)]
Reference = Annotated[bytes, ParamType(_reference, _HEX)]
RawTransaction = Annotated[bytes, ParamType(_raw_transaction, _HEX)]
RawTransactions = Annotated[list[bytes], ParamType(_raw_transactions, {"type": "array", "items": _HEX})]
TimeoutMs = Annotated[int, ParamType(_timeout, {"type": "integer", "minimum": 0})]
ProofSubject = Annotated[ProofOf, ParamType(_proof_of, _PROOF_OF)]
Limit = Annotated[int, ParamType(_limit, {"type": "integer", "minimum": 1})]
