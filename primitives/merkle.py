"""A binary Merkle tree over a list, in the shape of RFC 6962: leaves and inner nodes are hashed under
different tags, and an odd node is never duplicated (a list and its lengthened twin differ).

    leaf(x)  = H("drex/leaf", x)        node(l, r) = H("drex/node", l || r)        root([]) = 32 zero bytes

A level pairs its nodes from the left; a last node without a partner moves up unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

from primitives.hashing import ZERO_HASH, tagged_hasher

_hash_leaf = tagged_hasher("drex/leaf")
_hash_node = tagged_hasher("drex/node")


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The 32-byte root over `leaves` in order; 32 zero bytes for none."""
    if not leaves:
        return ZERO_HASH
    level = [_hash_leaf(leaf) for leaf in leaves]
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def join_roots(roots: Sequence[bytes]) -> bytes:
    """The root over a list that was cut into parts of 2^k leaves each (the last may be shorter), from the
    roots of the parts: the same as `merkle_root` of the whole list."""
    if not roots:
        return ZERO_HASH
    level = list(roots)
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def merkle_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The sibling hashes of leaf `index` from the bottom up (levels where it has none give no hash)."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    level, proof = [_hash_leaf(leaf) for leaf in leaves], []
    while len(level) > 1:
        if (sibling := index ^ 1) < len(level):
            proof.append(level[sibling])
        level, index = _next_level(level), index >> 1
    return proof


def verify_merkle_proof(root: bytes, leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bool:
    """True when `leaf` is number `index` of the `count` leaves under `root`."""
    if not 0 <= index < count:
        return False
    node, remaining = _hash_leaf(leaf), list(proof)
    while count > 1:
        if index ^ 1 < count:
            if not remaining:
                return False
            sibling = remaining.pop(0)
            node = _hash_node(sibling + node) if index & 1 else _hash_node(node + sibling)
        index, count = index >> 1, (count + 1) >> 1
    return not remaining and node == root


def _next_level(level: list[bytes]) -> list[bytes]:
    paired = [_hash_node(level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) & 1:
        paired.append(level[-1])
    return paired
