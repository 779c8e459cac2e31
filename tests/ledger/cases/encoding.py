"""How bytes read: canonical MessagePack, bounds, versions, kinds, payloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from ledger import codes
from ledger.payloads import Kind
from ledger.transaction import Transaction
from primitives.limits import MAX_TRANSACTION_BYTES
from tests.ledger.cases import add_invalid, invalid, valid
from tests.ledger.world import DVT_A, World, lock

Wire = list[Any]


def plain(world: World) -> Transaction:
    """A plain transfer of 120 of alice's 500."""
    world.fund("alice", DVT_A, 500)
    return world.transfer("alice", "bob", DVT_A, 120)


def repacked(world: World, change: Callable[[Wire, Wire], None]) -> bytes:
    """The plain transfer as nested lists (body, witness), changed, and packed again."""
    body, witness = msgpack.unpackb(plain(world).raw)
    change(body, witness)
    packed: bytes = msgpack.packb([body, witness])
    return packed


def _set_body(place: int, value: Any) -> Callable[[World], bytes]:
    return lambda world: repacked(world, lambda body, _: body.__setitem__(place, value))


def _set_input(place: int, value: Any) -> Callable[[World], bytes]:
    return lambda world: repacked(world, lambda body, _: body[2][0].__setitem__(place, value))


def _set_output(place: int, value: Any) -> Callable[[World], bytes]:
    return lambda world: repacked(world, lambda body, _: body[3][0].__setitem__(place, value))


def _set_witness(place: int, value: Any) -> Callable[[World], bytes]:
    return lambda world: repacked(world, lambda _, witness: witness.__setitem__(place, value))


def _set_signature(place: int, value: Any) -> Callable[[World], bytes]:
    return lambda world: repacked(world, lambda _, witness: witness[0][0].__setitem__(place, value))


def _replaced(old: bytes, new: bytes, count: int = 1) -> Callable[[World], bytes]:
    """The plain transfer's bytes with one piece written another way."""

    def make(world: World) -> bytes:
        raw = plain(world).raw
        assert old in raw
        return raw.replace(old, new, count)

    return make


MALFORMED: dict[str, Callable[[World], bytes]] = {
    "no bytes": lambda world: b"",
    "one nil": lambda world: b"\xc0",
    "an empty array": lambda world: b"\x90",
    "a map": lambda world: b"\x80",
    "cut after 100 bytes": lambda world: plain(world).raw[:100],
    "one byte short": lambda world: plain(world).raw[:-1],
    "one byte more": lambda world: plain(world).raw + b"\x00",
    "three elements": lambda world: b"\x93" + plain(world).raw[1:] + b"\x90",
    "body as bin": lambda world: msgpack.packb([b"\x98", []]),
    "witness missing": lambda world: msgpack.packb([msgpack.unpackb(plain(world).raw)[0]]),
    "body with nine fields": lambda world: repacked(world, lambda body, _: body.append(0)),
    "body with seven fields": lambda world: repacked(world, lambda body, _: body.pop()),
    "txid of 31 bytes": _set_input(0, bytes(31)),
    "txid of 33 bytes": _set_input(0, bytes(33)),
    "index 2^32": _set_input(1, 2**32),
    "index negative": _set_input(1, -1),
    "lock of 20 bytes": _set_output(2, bytes(20)),
    "asset as bin": _set_output(0, b"BRL"),
    "note as text": _set_output(3, ""),
    "value as float": _set_output(1, 1.0),
    "value as array": _set_output(1, [1]),
    "value as text": _set_output(1, "100"),
    "value nil": _set_output(1, None),
    "value true": _set_output(1, True),
    "value a map": _set_output(1, {}),
    "valid_from negative": _set_body(4, -1),
    "valid_until 2^63": _set_body(5, 2**63),
    "reference as text": _set_body(6, "ref"),
    "public key of 31 bytes": _set_signature(0, bytes(31)),
    "signature of 63 bytes": _set_signature(1, bytes(63)),
    "signature of 65 bytes": _set_signature(1, bytes(65)),
    "signature with a third field": lambda world: repacked(
        world, lambda _, witness: witness[0][0].append(b"")
    ),
    "condition tag 7": _set_witness(1, [[7, bytes(32)]]),
    "condition tag 9": _set_witness(1, [[9]]),
    "condition as bin": _set_witness(1, [b""]),
    "hash of 31 bytes": _set_witness(1, [[1, bytes(31)]]),
    "height negative": _set_witness(1, [[2, -1]]),
    "time 2^53": _set_witness(1, [[4, 2**53]]),
    "preimage as text": _set_witness(2, ["secret"]),
    "nested ten thousand deep": lambda world: b"\x91" * 10_000,
    "condition nested five thousand deep": lambda world: (
        plain(world).raw[:-2] + b"\x91" + b"\x93\x06\x01\x91" * 5_000 + b"\x92\x02\x00" + b"\x90"
    ),
}
for _name, _make in MALFORMED.items():
    add_invalid(f"malformed: {_name}", codes.MALFORMED, _make)

NONCANONICAL: dict[str, Callable[[World], bytes]] = {
    "version as uint8": _replaced(b"\x98\x01", b"\x98\xcc\x01"),
    "kind as uint16": _replaced(b"\x98\x01\x02", b"\x98\x01\xcd\x00\x02"),
    "value as uint64": _replaced(b"/DVT\x78", b"/DVT\xcf" + bytes(7) + b"\x78"),
    "value as int64": _replaced(b"/DVT\x78", b"/DVT\xd3" + bytes(7) + b"\x78"),
    "txid as bin16": _replaced(b"\x92\xc4\x20", b"\x92\xc5\x00\x20"),
    "asset as str8": _replaced(b"\xb0BRL@", b"\xd9\x10BRL@"),
    "body as array16": _replaced(b"\x92\x98", b"\x92\xdc\x00\x08"),
    "transaction as array32": lambda world: b"\xdd\x00\x00\x00\x02" + plain(world).raw[1:],
    "empty witness list as array16": lambda world: plain(world).raw[:-1] + b"\xdc\x00\x00",
}
for _name, _make in NONCANONICAL.items():
    add_invalid(f"noncanonical: {_name}", codes.NONCANONICAL, _make)


@invalid(codes.NONCANONICAL)
def noncanonical_payload_of_a_freeze(world: World) -> bytes:
    payload = [b"AAAA1111".decode(), lock("alice"), DVT_A, 5, b"order"]
    raw: bytes = msgpack.packb([[1, 5, [], [], 0, 105, b"", payload], [[], [], []]])
    return raw.replace(b"/DVT\x05", b"/DVT\xcc\x05")


@invalid(codes.TOO_LARGE)
def bytes_beyond_the_bound(world: World) -> bytes:
    return bytes(MAX_TRANSACTION_BYTES + 1)


for _version in (0, 2, 127, 128, 300):
    add_invalid(f"version {_version}", codes.VERSION_UNKNOWN, _set_body(0, _version))
for _kind in (0, 10, 11, 127, 200, 1000):
    add_invalid(f"kind {_kind}", codes.KIND_UNKNOWN, _set_body(1, _kind))


@invalid(codes.VERSION_UNKNOWN)
def version_2_with_another_layout(world: World) -> bytes:
    packed: bytes = msgpack.packb([[2, 2, [], {}], []])
    return packed


def _with_payload(kind: Kind, payload: Any) -> Callable[[World], bytes]:
    def make(world: World) -> bytes:
        packed: bytes = msgpack.packb([[1, int(kind), [], [], 0, 105, b"", payload], [[], [], []]])
        return packed

    return make


_ISPB = "AAAA1111"
PAYLOADS: dict[str, tuple[Kind, Any]] = {
    "transfer with a number": (Kind.TRANSFER, 0),
    "transfer with nil": (Kind.TRANSFER, None),
    "freeze with too few fields": (Kind.FREEZE, [_ISPB, bytes(32), DVT_A, 5]),
    "freeze with too many fields": (Kind.FREEZE, [_ISPB, bytes(32), DVT_A, 5, b"o", 0]),
    "freeze of nothing": (Kind.FREEZE, [_ISPB, bytes(32), DVT_A, 0, b"o"]),
    "freeze of 2^63": (Kind.FREEZE, [_ISPB, bytes(32), DVT_A, 2**63, b"o"]),
    "freeze without an order id": (Kind.FREEZE, [_ISPB, bytes(32), DVT_A, 5, b""]),
    "freeze with an order id of 65 bytes": (Kind.FREEZE, [_ISPB, bytes(32), DVT_A, 5, bytes(65)]),
    "freeze by an ispb of 7 characters": (Kind.FREEZE, [_ISPB[:7], bytes(32), DVT_A, 5, b"o"]),
    "freeze by a small-letter ispb": (Kind.FREEZE, [_ISPB.lower(), bytes(32), DVT_A, 5, b"o"]),
    "move with a number": (Kind.MOVE, [_ISPB, b"o", 0]),
    "registry with act 0": (Kind.REGISTRY, [_ISPB, [0]]),
    "registry with act 23": (Kind.REGISTRY, [_ISPB, [23]]),
    "registry with a role 7": (Kind.REGISTRY, [_ISPB, [1, _ISPB, "n", 7, [0, bytes(32)], b"", ""]]),
    "registry with 257 wallets": (
        Kind.REGISTRY,
        [_ISPB, [15, _ISPB, [number.to_bytes(32, "big") for number in range(257)]]],
    ),
    "vote with operation 3": (Kind.VALIDATOR_VOTE, [bytes(32), bytes(32), 3, 110]),
}
for _name, (_its_kind, _payload) in PAYLOADS.items():
    add_invalid(f"payload: {_name}", codes.PAYLOAD_INVALID, _with_payload(_its_kind, _payload))


@valid
def the_same_bytes_packed_by_the_reference_library(world: World) -> bytes:
    return repacked(world, lambda body, witness: None)
