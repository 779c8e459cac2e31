"""The validator set: who may propose and vote, and how many of them decide."""

from __future__ import annotations

import itertools
from functools import cached_property

from primitives.codec import encode
from primitives.errors import DecodeError
from primitives.hashing import tagged_hasher
from primitives.keys import PUBLIC_KEY_BYTES, PublicKey
from primitives.limits import MAX_VALIDATORS

_hash_validators = tagged_hasher("drex/validators")


def quorum_size(validators: int) -> int:
    """ceil(2n/3): any two quorums share more than f members. (2f+1 would do so only for n = 3f+1.)"""
    return -(-2 * validators // 3)


def max_faulty(validators: int) -> int:
    """floor((n-1)/3): how many may lie or be gone."""
    return (validators - 1) // 3


class ValidatorSet:
    """The keys of one epoch in ascending order. A validator's index in a certificate is its place here.

    Raises `DecodeError` (VALIDATORS_INVALID) for an empty, unsorted, repeated or malformed list of keys.
    """

    def __init__(self, epoch: int, keys: tuple[PublicKey, ...]) -> None:
        if not 1 <= len(keys) <= MAX_VALIDATORS or any(len(key) != PUBLIC_KEY_BYTES for key in keys):
            raise DecodeError(
                f"1 to {MAX_VALIDATORS} keys of {PUBLIC_KEY_BYTES} bytes are expected",
                code="VALIDATORS_INVALID",
            )
        if any(left >= right for left, right in itertools.pairwise(keys)):
            raise DecodeError("validator keys are ascending and distinct", code="VALIDATORS_INVALID")
        self.epoch = epoch
        self.keys = keys
        self.size = len(keys)
        self.quorum = quorum_size(self.size)
        self.max_faulty = max_faulty(self.size)
        self._index = {key: index for index, key in enumerate(keys)}

    @cached_property
    def hash(self) -> bytes:
        """`validators_hash`, the 32 bytes a header commits to: H("drex/validators", [epoch, keys])."""
        return _hash_validators(encode([self.epoch, list(self.keys)]))

    def index_of(self, key: bytes) -> int | None:
        """The place of `key` in the set, or None for a stranger."""
        return self._index.get(PublicKey(key))

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValidatorSet) and (self.epoch, self.keys) == (other.epoch, other.keys)

    def __hash__(self) -> int:
        return hash((self.epoch, self.keys))

    def __repr__(self) -> str:
        return f"ValidatorSet(epoch={self.epoch}, size={self.size})"
