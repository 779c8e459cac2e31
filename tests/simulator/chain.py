"""A ledger small enough to run twenty heights in milliseconds: what a block is, and what makes one valid.

A transaction is its 32-byte id. An id that begins with `TOGGLE` takes the validator of the next byte out of
the set, or back in, from the next height on. The state is a running hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from primitives import keys
from primitives.block import BlockHeader
from primitives.validators import ValidatorSet

CHAIN_ID = hashlib.sha256(b"simulated chain").digest()
ZERO = bytes(32)
TOGGLE = b"TOGGLE"
MAX_TRANSACTIONS = 8
MAX_NODES = 16


@lru_cache(2048)  # who checks a signature computes what its author did
def _cheap_sign(key: bytes, message: bytes) -> bytes:
    return hashlib.sha512(key + message).digest()


def _cheap_verify(key: bytes, message: bytes, signature: bytes) -> bool:
    return _cheap_sign(key, message) == signature


@dataclass(frozen=True)
class Scheme:
    """How validators are named and sign. `public_keys` ascend."""

    public_keys: tuple[bytes, ...]
    sign: Callable[[bytes, bytes], bytes]
    verify: Callable[[bytes, bytes, bytes], bool]


def _cheap_scheme() -> Scheme:
    names = (bytes([i]) + hashlib.sha256(b"validator %d" % i).digest()[1:] for i in range(MAX_NODES))
    return Scheme(tuple(names), _cheap_sign, _cheap_verify)


def _real_scheme() -> Scheme:
    seeds = (hashlib.sha256(b"seed %d" % i).digest() for i in range(MAX_NODES))
    signers = {bytes(signer.public_key): signer for signer in map(keys.SigningKey, seeds)}
    return Scheme(tuple(sorted(signers)), lambda key, message: bytes(signers[key].sign(message)), keys.verify)


_scheme = _cheap_scheme()


@contextmanager
def real_signatures() -> Iterator[None]:
    """Ed25519 instead of the cheap scheme, for worlds that are made and run inside."""
    global _scheme
    before, _scheme = _scheme, _real_scheme()
    try:
        yield
    finally:
        _scheme = before


def public_key(index: int) -> bytes:
    """The key of validator `index`; keys ascend with the index."""
    return _scheme.public_keys[index]


def sign(key: bytes, message: bytes) -> bytes:
    """A signature, cheap unless told otherwise. Nobody but a key's owner calls this, villains included."""
    return _scheme.sign(key, message)


def verifier() -> Callable[[bytes, bytes, bytes], bool]:
    """The counterpart of `sign`: verify(key, message, signature)."""
    return _scheme.verify


def plain_transaction(number: int) -> bytes:
    """An id that changes nothing but the state hash."""
    return hashlib.sha256(b"transaction %d" % number).digest()


def toggle_transaction(number: int, validator: int) -> bytes:
    """An id that takes a validator out of the set or back in."""
    return TOGGLE + bytes([validator]) + hashlib.sha256(b"toggle %d" % number).digest()[:25]


@dataclass(frozen=True)
class State:
    """What a block leaves behind."""

    root: bytes
    validators: ValidatorSet
    spent: frozenset[bytes]


def genesis_state(size: int) -> State:
    """The first `size` validators, nothing spent."""
    return State(ZERO, ValidatorSet(0, tuple(public_key(i) for i in range(size))), frozenset())  # type: ignore[misc]


def genesis_header(state: State) -> BlockHeader:
    """Block 0."""
    return BlockHeader(1, 0, ZERO, 1, ZERO, 0, ZERO, state.root, state.validators.hash, state.validators.hash)


def list_root(wtxids: tuple[bytes, ...]) -> bytes:
    """What a header commits its list by."""
    return hashlib.sha256(b"".join(wtxids)).digest() if wtxids else ZERO


def execute(state: State, wtxids: tuple[bytes, ...]) -> State | None:
    """The state after a block, or None when a transaction was spent before or there are too many."""
    if not wtxids:
        return state
    listed = set(wtxids)
    if len(wtxids) > MAX_TRANSACTIONS or len(listed) < len(wtxids) or not state.spent.isdisjoint(wtxids):
        return None
    root = hashlib.sha256(state.root + b"".join(wtxids)).digest()
    validators = state.validators
    for toggle in [wtxid for wtxid in wtxids if wtxid.startswith(TOGGLE)]:
        members = set(validators.keys) ^ {public_key(toggle[len(TOGGLE)])}
        if len(members) >= 4:
            validators = ValidatorSet(validators.epoch + 1, tuple(sorted(members)))  # type: ignore[arg-type]
            break
    return State(root, validators, state.spent | listed)


def make_header(
    state: State,
    parent: BlockHeader,
    parent_id: bytes,
    now_ms: int,
    proposer: bytes,
    wtxids: tuple[bytes, ...],
) -> BlockHeader:
    """The header of a block that is valid on `parent`."""
    after = execute(state, wtxids)
    assert after is not None
    return BlockHeader(
        version=1,
        height=parent.height + 1,
        parent_id=parent_id,
        timestamp_ms=max(now_ms, parent.timestamp_ms + 1),
        proposer=proposer,
        tx_count=len(wtxids),
        tx_root=list_root(wtxids),
        state_root=after.root,
        validators_hash=state.validators.hash,
        next_validators_hash=after.validators.hash,
    )


def is_valid(state: State, header: BlockHeader, wtxids: tuple[bytes, ...]) -> bool:
    """What executing the block says about its header."""
    after = execute(state, wtxids)
    return after is not None and (header.state_root, header.next_validators_hash) == (
        after.root,
        after.validators.hash,
    )


def proposer_order(validators: ValidatorSet, parent_proposer: bytes) -> tuple[bytes, ...]:
    """By key, starting after the parent's proposer."""
    keys = validators.keys
    start = next((place for place, key in enumerate(keys) if key > parent_proposer), 0)
    return keys[start:] + keys[:start]
