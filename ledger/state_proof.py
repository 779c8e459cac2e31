"""Proofs that a state root holds an entry, or does not: for an output, all outputs of an address, a supply.

A proof carries one bucket and the nodes above it, so it shows absence as well as presence: whoever verifies
sees everything the bucket holds. This file only verifies: it shares no code with the tree and needs nothing
but the root, the number of buckets and the proof. Proofs are made in `ledger/state_prover.py`. Layout:
docs/encodings.md, "State proofs".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ledger.state import LOCK_BYTES, OUTPUT, UnspentOutput, output_key, read_output
from primitives.codec import Record, decode
from primitives.errors import DecodeError
from primitives.hashing import HASH_BYTES, ZERO_HASH, tagged_hasher
from primitives.limits import BUCKET_ENTRIES, MAX_PROOF_BYTES, TREE_ARITY

_hash_key = tagged_hasher("drex/key")
_hash_value = tagged_hasher("drex/value")
_hash_leaf = tagged_hasher("drex/bucket")
_hash_split = tagged_hasher("drex/split")
_hash_node = tagged_hasher("drex/tree")

_SLOT_BYTES = 4 + HASH_BYTES
_SPLIT_PAGE_BYTES = 1 + TREE_ARITY * _SLOT_BYTES


class StateProof(Record, frozen=True):
    """`nodes` are the 16 child digests of each node from the bucket up to the root; `pages` the bucket's
    pages in preorder, those off the way left out; `values` (key, value) what some digests stand for."""

    nodes: tuple[bytes, ...]
    pages: tuple[bytes, ...]
    values: tuple[tuple[bytes, bytes], ...]


class ProvenOutput(NamedTuple):
    """An unspent output that a proof shows."""

    txid: bytes
    place: int
    output: UnspentOutput


def decode_proof(data: bytes) -> StateProof:
    """Read a proof. Raises `DecodeError`; proves nothing yet."""
    return decode(data, StateProof, max_bytes=MAX_PROOF_BYTES + 4096)


def verify_key(root: bytes, bucket_count: int, key: bytes, place: bytes, proof: StateProof) -> bytes | None:
    """The value of `key` under `root`, None when the proof shows that there is none.

    `place` as for `prove_key`. Raises `DecodeError` (PROOF_INVALID) when the proof proves neither."""
    digest = _bucket_digest(root, bucket_count, place, proof)
    for depth, page in enumerate(proof.pages):
        if digest == ZERO_HASH:
            break
        if page[:1] != b"\0":
            _require(_hash_leaf(page) == digest and depth == len(proof.pages) - 1, "a page does not match")
            return _proven_value(leaf_entries(page).get(key), key, proof)
        _require(_hash_split(page) == digest, "a page does not match")
        digest = _split_digests(page)[path_nibble(key, depth)]
    _require(digest == ZERO_HASH, "a page is missing")
    return _proven_value(None, key, proof)


def verify_output(
    root: bytes, bucket_count: int, txid: bytes, index: int, lock: bytes, proof: StateProof
) -> UnspentOutput | None:
    """The output if it is unspent under `lock`, None if the proof shows that no such output is."""
    value = verify_key(root, bucket_count, output_key(txid, index), lock, proof)
    if value is None:
        return None
    output = read_output(value)
    return output if output.lock == lock else None


def verify_entry(root: bytes, bucket_count: int, key: bytes, proof: StateProof) -> bytes | None:
    """The value of an entry that `prove_entry` proved, or None when it is absent."""
    return verify_key(root, bucket_count, key, _hash_key(key), proof)


def verify_address(root: bytes, bucket_count: int, lock: bytes, proof: StateProof) -> list[ProvenOutput]:
    """Every unspent output under `lock` in the state of `root`, these and no others; outpoints ascend."""
    digest = _bucket_digest(root, bucket_count, lock, proof)
    pages = iter(proof.pages)
    entries: dict[bytes, bytes] = {}
    _collect(digest, pages, entries, 0)
    _require(next(pages, None) is None, "there are pages too many")
    values, found, shown = dict(proof.values), [], 0
    for key, value_digest in sorted(entries.items()):
        if key[:1] == OUTPUT:
            value = values.get(key)
            _require(value is not None and _hash_value(value) == value_digest, "a value is missing or false")
            output = read_output(value or b"")
            shown += 1
            if output.lock == lock:
                found.append(ProvenOutput(key[1:33], int.from_bytes(key[33:], "big"), output))
    _require(shown == len(proof.values), "there are values too many")
    return found


def _bucket_digest(root: bytes, bucket_count: int, place: bytes, proof: StateProof) -> bytes:
    """The digest of the bucket of `place`, proven by the nodes above it."""
    _require(len(place) == LOCK_BYTES, "a place has 32 bytes")
    depth = len(proof.nodes)
    _require(TREE_ARITY**depth == bucket_count, "it is of a tree with another number of buckets")
    bucket = int.from_bytes(place, "big") >> (8 * LOCK_BYTES - 4 * depth)
    expected = root
    for level in reversed(range(depth)):
        node = proof.nodes[level]
        _require(
            len(node) == TREE_ARITY * HASH_BYTES and _hash_node(node) == expected, "a node does not match"
        )
        slot = (bucket >> 4 * level) % TREE_ARITY * HASH_BYTES
        expected = node[slot : slot + HASH_BYTES]
    return expected


def _collect(digest: bytes, pages: Iterator[bytes], entries: dict[bytes, bytes], depth: int) -> None:
    if digest == ZERO_HASH:
        return
    page = next(pages, b"")
    _require(page != b"" and depth < 2 * HASH_BYTES, "a page is missing")
    if page[0] != 0:
        _require(_hash_leaf(page) == digest, "a page does not match")
        entries.update(leaf_entries(page))
        return
    _require(_hash_split(page) == digest, "a page does not match")
    for child in _split_digests(page):
        _collect(child, pages, entries, depth + 1)


def _proven_value(value_digest: bytes | None, key: bytes, proof: StateProof) -> bytes | None:
    _require(len(proof.values) == (value_digest is not None), "there are values too many or too few")
    if value_digest is None:
        return None
    value = dict(proof.values).get(key)
    _require(value is not None and _hash_value(value) == value_digest, "the value is missing or false")
    return value


def leaf_entries(page: bytes) -> dict[bytes, bytes]:
    """The entries (key → value digest) of a leaf page. Raises `DecodeError`."""
    flat = decode(page, list[bytes], max_bytes=MAX_PROOF_BYTES)
    _require(len(flat) % 2 == 0 and len(flat) <= 2 * BUCKET_ENTRIES, "a page has a wrong number of parts")
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _split_digests(page: bytes) -> list[bytes]:
    _require(len(page) == _SPLIT_PAGE_BYTES, "a split page has a wrong length")
    return [page[start + 4 : start + _SLOT_BYTES] for start in range(1, len(page), _SLOT_BYTES)]


def path_nibble(key: bytes, depth: int) -> int:
    """Which child of a split page at `depth` leads to `key`."""
    byte = _hash_key(key)[depth // 2]
    return byte % TREE_ARITY if depth % 2 else byte // TREE_ARITY


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise DecodeError(message, code="PROOF_INVALID")
