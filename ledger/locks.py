"""Locks and the conditions behind them: predicates, never scripts.

`lock = H("drex/lock", condition)`. A condition is a tree of leaves (key, hash, heights, times) under
thresholds, of depth <= 4 and with <= 16 leaves (docs/ledger.md, "Locks"; bytes in docs/encodings.md).
Reading a condition never recurses deeper than its bound; `check_condition` refuses every other shape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Union

from msgspec import Meta

from ledger import codes
from primitives.codec import Record, encode
from primitives.hashing import tagged_hasher
from primitives.limits import MAX_CONDITION_DEPTH, MAX_CONDITION_LEAVES, MAX_HEIGHT, MAX_TIMESTAMP_MS

_hash_lock = tagged_hasher("drex/lock")
_KEY_CONDITION_HEAD = b"\x92\x00\xc4\x20"  # canonical [0, bin of 32 bytes] up to the key

Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Height = Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]
Timestamp = Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)]


class KeyLeaf(Record, frozen=True, tag=0):
    """True when the transaction carries a signature by `public_key`."""

    public_key: Bytes32


class HashLeaf(Record, frozen=True, tag=1):
    """True when the witness carries the SHA-256 preimage of `digest`."""

    digest: Bytes32


class AfterHeight(Record, frozen=True, tag=2):
    """True in blocks of `height` and above."""

    height: Height


class BeforeHeight(Record, frozen=True, tag=3):
    """True in blocks below `height`."""

    height: Height


class AfterTime(Record, frozen=True, tag=4):
    """True in blocks whose timestamp is `time_ms` or later."""

    time_ms: Timestamp


class BeforeTime(Record, frozen=True, tag=5):
    """True in blocks whose timestamp is before `time_ms`."""

    time_ms: Timestamp


class Threshold(Record, frozen=True, tag=6):
    """True when at least `needed` of `conditions` are; children distinct and sorted by their bytes."""

    needed: int
    conditions: tuple[Condition, ...]


Condition = Union[  # noqa: UP007 - msgspec resolves this alias by name
    KeyLeaf, HashLeaf, AfterHeight, BeforeHeight, AfterTime, BeforeTime, Threshold
]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a transaction and its block bring: signers, digests of the preimages, height and time."""

    signers: Collection[bytes]
    digests: Collection[bytes]
    height: int
    timestamp_ms: int


@lru_cache(maxsize=65_536)
def key_lock(public_key: bytes) -> bytes:
    """The lock of a single key: H("drex/lock", [0, public_key]). It is never revealed."""
    return _hash_lock(_KEY_CONDITION_HEAD + public_key)


def lock_of(condition: Condition) -> bytes:
    """The 32-byte lock of a condition."""
    return _hash_lock(encode(condition))


def threshold(needed: int, *conditions: Condition) -> Threshold:
    """k of n, with the children brought into their canonical order."""
    return Threshold(needed, tuple(sorted(conditions, key=encode)))


def check_condition(condition: Condition) -> None:
    """Refuse (TX_CONDITION_INVALID) a condition outside its bounds or with unsorted children."""
    leaves = _check_node(condition, 1)
    if leaves > MAX_CONDITION_LEAVES:
        codes.refuse(
            codes.CONDITION_INVALID, f"{leaves} leaves, at most {MAX_CONDITION_LEAVES}", leaves=leaves
        )


def _check_node(condition: Condition, depth: int) -> int:
    """Check one node and what is below; return its number of leaves."""
    if depth > MAX_CONDITION_DEPTH:
        codes.refuse(codes.CONDITION_INVALID, f"deeper than {MAX_CONDITION_DEPTH} levels")
    if not isinstance(condition, Threshold):
        return 1
    children = condition.conditions
    if not 1 <= condition.needed <= len(children) <= MAX_CONDITION_LEAVES:
        codes.refuse(
            codes.CONDITION_INVALID,
            f"threshold {condition.needed} of {len(children)}, not 1 <= k <= n <= {MAX_CONDITION_LEAVES}",
        )
    if any(left >= right for left, right in pairwise(encode(child) for child in children)):
        codes.refuse(codes.CONDITION_INVALID, "a threshold's conditions are not sorted and distinct")
    return sum(_check_node(child, depth + 1) for child in children)


def satisfied(condition: Condition, evidence: Evidence) -> bool:
    """Whether `evidence` makes `condition` true."""
    match condition:
        case KeyLeaf():
            return condition.public_key in evidence.signers
        case HashLeaf():
            return condition.digest in evidence.digests
        case AfterHeight():
            return evidence.height >= condition.height
        case BeforeHeight():
            return evidence.height < condition.height
        case AfterTime():
            return evidence.timestamp_ms >= condition.time_ms
        case BeforeTime():
            return evidence.timestamp_ms < condition.time_ms
        case Threshold():
            met = sum(satisfied(child, evidence) for child in condition.conditions)
            return met >= condition.needed


def leaves_of(condition: Condition) -> Iterator[Condition]:
    """Every leaf, left to right."""
    if isinstance(condition, Threshold):
        for child in condition.conditions:
            yield from leaves_of(child)
    else:
        yield condition


def keys_of(condition: Condition) -> list[bytes]:
    """Every public key in a condition, left to right."""
    return [leaf.public_key for leaf in leaves_of(condition) if isinstance(leaf, KeyLeaf)]


def digests_of(condition: Condition) -> list[bytes]:
    """Every hash digest in a condition, left to right."""
    return [leaf.digest for leaf in leaves_of(condition) if isinstance(leaf, HashLeaf)]


def always_needs_key(condition: Condition) -> bool:
    """True when no way of satisfying the condition lacks a key's signature."""
    if isinstance(condition, KeyLeaf):
        return True
    if not isinstance(condition, Threshold):
        return False
    keyless = sum(not always_needs_key(child) for child in condition.conditions)
    return keyless < condition.needed


def digest_of(preimage: bytes) -> bytes:
    """What a hash leaf holds: plain SHA-256, so that other ledgers can share the secret."""
    return sha256(preimage).digest()


def describe_missing(condition: Condition, evidence: Evidence) -> str:
    """Say in words which leaves do not hold, for the message of a refusal."""
    unmet = [leaf for leaf in leaves_of(condition) if not satisfied(leaf, evidence)]
    words = ", ".join(_describe_leaf(leaf) for leaf in unmet)
    if isinstance(condition, Threshold):
        return f"{condition.needed} of {len(condition.conditions)} needed; not met: {words}"
    return words


def _describe_leaf(leaf: Condition) -> str:
    match leaf:
        case KeyLeaf():
            return f"key {leaf.public_key.hex()}"
        case HashLeaf():
            return f"hash {leaf.digest.hex()}"
        case AfterHeight():
            return f"after_height {leaf.height}"
        case BeforeHeight():
            return f"before_height {leaf.height}"
        case AfterTime():
            return f"after_time {_iso(leaf.time_ms)}"
        case BeforeTime():
            return f"before_time {_iso(leaf.time_ms)}"
        case Threshold():
            return f"{leaf.needed} of {len(leaf.conditions)}"


def _iso(time_ms: int) -> str:
    """UTC in ISO 8601; the bare number when the calendar ends before it."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=time_ms)
    except OverflowError:
        return f"{time_ms} ms"
    return moment.isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds").replace("+00:00", "Z")
