"""SHA-256 with a domain tag: `H(tag, data) = SHA256(SHA256(tag) || SHA256(tag) || data)`.

The two tag blocks fill exactly one SHA-256 block, so a hasher for a tag is a copied midstate.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256

HASH_BYTES = 32
ZERO_HASH = bytes(HASH_BYTES)

TaggedHasher = Callable[[bytes], bytes]


@cache
def tagged_hasher(tag: str) -> TaggedHasher:
    """Return the hash function of one tag: `bytes -> 32 bytes`. Cached by tag."""
    tag_digest = sha256(tag.encode()).digest()
    copy_midstate = sha256(tag_digest + tag_digest).copy

    def hash_tagged(data: bytes) -> bytes:
        state = copy_midstate()
        state.update(data)
        return state.digest()

    return hash_tagged


def tagged_hash(tag: str, data: bytes) -> bytes:
    """`H(tag, data)`, 32 bytes. For hot paths keep the result of `tagged_hasher(tag)`."""
    return tagged_hasher(tag)(data)
