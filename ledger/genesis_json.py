"""The JSON view of a genesis document, for people and other programs; the array remains the document.

Promise: `document_from_json(document_to_json(d)) == d` for every valid document, and whatever is not a view
raises `DecodeError` (GENESIS_INVALID) with the path of the part and what was expected there.
Keys are hex, locks are addresses, peer ids base58, amounts decimal strings of the smallest unit, conditions
objects such as `{"key": "…"}` or `{"threshold": 2, "of": [ … ]}`. The schema is genesis/schema.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import base58
import msgspec

from ledger import genesis_records as records
from ledger.genesis_checks import check_genesis, refuse_genesis
from ledger.locks import (
    AfterHeight,
    AfterTime,
    BeforeHeight,
    BeforeTime,
    Condition,
    HashLeaf,
    KeyLeaf,
    Threshold,
)
from ledger.parameters import BlockLimits, ChainParameters
from ledger.payloads import Holders, NodeRole, Role
from primitives.address import decode_address, encode_address
from primitives.codec import decode, encode
from primitives.errors import DecodeError
from primitives.limits import MAX_CONDITION_DEPTH, MAX_GENESIS_BYTES

Json = Any  # what `json.loads` returns: checked here, part by part


class Form(NamedTuple):
    """How one part is written and read; both take the network's address prefix, reading also the path."""

    write: Callable[[Any, str], Json]
    read: Callable[[Json, str, str], Any]


def document_to_json(document: records.GenesisDocument) -> dict[str, Json]:
    """The view: an object of plain JSON values."""
    view: dict[str, Json] = _DOCUMENT.write(document, document.address_prefix)
    return view


def document_from_json(view: Json) -> records.GenesisDocument:
    """Read and check a view. Raises `DecodeError` (GENESIS_INVALID)."""
    prefix = view.get("address_prefix") if isinstance(view, dict) else None
    if not isinstance(prefix, str):
        refuse_genesis("address_prefix", "a text is expected")
    document = _DOCUMENT.read(view, prefix, "")
    try:  # the decoder holds the bounds of texts and numbers
        checked = decode(encode(document), records.GenesisDocument, max_bytes=MAX_GENESIS_BYTES)
    except (DecodeError, msgspec.MsgspecError, OverflowError) as error:
        message = error.message if isinstance(error, DecodeError) else str(error)
        refuse_genesis(_named_part(message), message)
    check_genesis(checked)
    return checked


def _named_part(message: str) -> str:
    """The field of the document that the decoder's `$[7][0]` in `message` means."""
    match = re.search(r"\$\[(\d+)\]", message)
    return "document" if match is None else records.GenesisDocument.__struct_fields__[int(match[1])]


def condition_to_json(condition: Condition) -> dict[str, Json]:
    """An object with one leaf, or a threshold and its parts."""
    match condition:
        case KeyLeaf():
            return {"key": condition.public_key.hex()}
        case HashLeaf():
            return {"hash": condition.digest.hex()}
        case AfterHeight():
            return {"after_height": condition.height}
        case BeforeHeight():
            return {"before_height": condition.height}
        case AfterTime():
            return {"after_time": condition.time_ms}
        case BeforeTime():
            return {"before_time": condition.time_ms}
        case Threshold():
            parts = [condition_to_json(part) for part in condition.conditions]
            return {"threshold": condition.needed, "of": parts}


def condition_from_json(view: Json, path: str = "condition", depth: int = 1) -> Condition:
    """Read what `condition_to_json` writes. Raises `DecodeError` (GENESIS_INVALID) with the path."""
    if not isinstance(view, dict) or depth > MAX_CONDITION_DEPTH:
        refuse_genesis(path, f"an object, at most {MAX_CONDITION_DEPTH} deep, is expected")
    if view.keys() == {"threshold", "of"}:
        needed, parts = _read_integer(view["threshold"], "", f"{path}.threshold"), view["of"]
        if not isinstance(parts, list):
            refuse_genesis(f"{path}.of", "a list is expected")
        children = (condition_from_json(part, f"{path}.of[{i}]", depth + 1) for i, part in enumerate(parts))
        return Threshold(needed, tuple(sorted(children, key=encode)))
    if len(view) != 1 or (name := next(iter(view))) not in _LEAVES:
        refuse_genesis(path, f"one of {', '.join(_LEAVES)}, or threshold and of, is expected")
    make, form = _LEAVES[name]
    leaf: Condition = make(form.read(view[name], "", f"{path}.{name}"))
    return leaf


def _read_integer(view: Json, _prefix: str, path: str) -> int:
    if isinstance(view, bool) or not isinstance(view, int):
        refuse_genesis(path, "a whole number is expected")
    return view


def _read_text(view: Json, _prefix: str, path: str) -> str:
    if not isinstance(view, str):
        refuse_genesis(path, "a text is expected")
    return view


def _read_flag(view: Json, _prefix: str, path: str) -> bool:
    if not isinstance(view, bool):
        refuse_genesis(path, "true or false is expected")
    return view


def _read_hex(view: Json, prefix: str, path: str) -> bytes:
    text = _read_text(view, prefix, path)
    if text != text.lower() or not set(text) <= set("0123456789abcdef") or len(text) % 2:
        refuse_genesis(path, "lower-case hex is expected")
    return bytes.fromhex(text)


def _read_amount(view: Json, prefix: str, path: str) -> int:
    text = _read_text(view, prefix, path)
    if not (text.isascii() and text.isdigit() and len(text) <= 19) or text != str(int(text)):
        refuse_genesis(path, "a decimal string of the smallest unit is expected")
    return int(text)


def _write_lock(lock: bytes, prefix: str) -> str:
    return encode_address(prefix, lock) if lock else ""


def _read_lock(view: Json, prefix: str, path: str) -> bytes:
    text = _read_text(view, prefix, path)
    try:
        return decode_address(prefix, text) if text else b""
    except DecodeError as error:
        refuse_genesis(path, error.message)


def _read_peer_id(view: Json, prefix: str, path: str) -> bytes:
    text = _read_text(view, prefix, path)
    try:
        return bytes(base58.b58decode(text))
    except ValueError:
        refuse_genesis(path, "a peer id in base58 is expected")


def _plain(value: Any, _prefix: str) -> Json:
    return value


def _choice(choices: type[IntEnum]) -> Form:
    """An enumeration's member as its name in lower case."""
    names = {member.name.lower(): member for member in choices}

    def read(view: Json, _prefix: str, path: str) -> IntEnum:
        if not isinstance(view, str) or view not in names:
            refuse_genesis(path, f"one of {', '.join(names)} is expected")
        return names[view]

    return Form(lambda value, _prefix: choices(value).name.lower(), read)


def _optional(form: Form) -> Form:
    return Form(
        lambda value, prefix: None if value is None else form.write(value, prefix),
        lambda view, prefix, path: None if view is None else form.read(view, prefix, path),
    )


def _many(form: Form) -> Form:
    def read(view: Json, prefix: str, path: str) -> tuple[Any, ...]:
        if not isinstance(view, list):
            refuse_genesis(path, "a list is expected")
        return tuple(form.read(item, prefix, f"{path}[{place}]") for place, item in enumerate(view))

    return Form(lambda value, prefix: [form.write(item, prefix) for item in value], read)


def _record(make: Callable[..., Any], fields: Mapping[str, Form]) -> Form:
    """A record as an object with exactly its fields."""

    def read(view: Json, prefix: str, path: str) -> Any:
        if not isinstance(view, dict):
            refuse_genesis(path or "document", "an object is expected")
        start = f"{path}." if path else ""
        for name in sorted(view.keys() - fields.keys()):
            refuse_genesis(f"{start}{name}", "there is no such field")
        for name in sorted(fields.keys() - view.keys()):
            refuse_genesis(f"{start}{name}", "the field is missing")
        parts = {name: form.read(view[name], prefix, f"{start}{name}") for name, form in fields.items()}
        return make(**parts)

    def write(value: Any, prefix: str) -> Json:
        return {name: form.write(getattr(value, name), prefix) for name, form in fields.items()}

    return Form(write, read)


_INTEGER = Form(_plain, _read_integer)
_TEXT = Form(_plain, _read_text)
_FLAG = Form(_plain, _read_flag)
_HEX = Form(lambda value, _prefix: value.hex(), _read_hex)
_AMOUNT = Form(lambda value, _prefix: str(value), _read_amount)
_LOCK = Form(_write_lock, _read_lock)
_PEER_ID = Form(lambda value, _prefix: base58.b58encode(value).decode(), _read_peer_id)
_CONDITION = Form(
    lambda value, _prefix: condition_to_json(value),
    lambda view, _prefix, path: condition_from_json(view, path),
)
_LEAVES: dict[str, tuple[Callable[[Any], Condition], Form]] = {
    "key": (KeyLeaf, _HEX),
    "hash": (HashLeaf, _HEX),
    "after_height": (AfterHeight, _INTEGER),
    "before_height": (BeforeHeight, _INTEGER),
    "after_time": (AfterTime, _INTEGER),
    "before_time": (BeforeTime, _INTEGER),
}


def _integers(record: type[msgspec.Struct]) -> dict[str, Form]:
    return {field.name: _INTEGER for field in msgspec.structs.fields(record)}


_DOCUMENT = _record(
    records.GenesisDocument,
    {
        "version": _INTEGER,
        "name": _TEXT,
        "address_prefix": _TEXT,
        "timestamp_ms": _INTEGER,
        "parameters": _record(
            ChainParameters,
            _integers(ChainParameters) | {"limits": _record(BlockLimits, _integers(BlockLimits))},
        ),
        "recovery": _CONDITION,
        "bcb": _record(
            records.BcbGenesis,
            {
                "ispb": _TEXT,
                "name": _TEXT,
                "emission": _CONDITION,
                "orders": _CONDITION,
                "registry": _CONDITION,
                "recovery": _CONDITION,
                "settlement_lock": _LOCK,
            },
        ),
        "participants": _many(
            _record(
                records.GenesisParticipant,
                {
                    "ispb": _TEXT,
                    "name": _TEXT,
                    "role": _choice(Role),
                    "condition": _CONDITION,
                    "settlement_lock": _LOCK,
                    "sponsor": _TEXT,
                    "locks": _many(_LOCK),
                },
            )
        ),
        "assets": _many(
            _record(
                records.GenesisAsset,
                {
                    "name": _TEXT,
                    "issuer": _TEXT,
                    "decimals": _INTEGER,
                    "cap": _optional(_AMOUNT),
                    "min_value": _AMOUNT,
                    "holders": _choice(Holders),
                    "order_authority": _TEXT,
                    "burn_needs_issuer": _FLAG,
                    "standing_consent": _FLAG,
                    "reserve_lock": _LOCK,
                },
            )
        ),
        "wallets": _many(_record(records.GenesisWallets, {"issuer": _TEXT, "locks": _many(_LOCK)})),
        "nodes": _many(
            _record(
                records.GenesisNode,
                {
                    "peer_id": _PEER_ID,
                    "role": _choice(NodeRole),
                    "ispb": _TEXT,
                    "addresses": _many(_TEXT),
                    "validator_key": _HEX,
                },
            )
        ),
        "validators": _many(_record(records.GenesisValidator, {"public_key": _HEX, "ispb": _TEXT})),
        "outputs": _many(_record(records.GenesisOutput, {"asset": _TEXT, "value": _AMOUNT, "lock": _LOCK})),
    },
)
