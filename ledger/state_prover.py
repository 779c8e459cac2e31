"""Proofs of the committed state, for whoever holds a header; `ledger/state_proof.py` verifies them.

Promise: what is made here verifies against the root of the tree at that moment. Reads pages and values, and
writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.slices import Slices, finish
from ledger.state import OUTPUT, StateReader, output_key
from ledger.state_proof import StateProof, leaf_entries, path_nibble
from ledger.state_tree import StateTree
from ledger.tree_pages import bucket_page_key
from primitives.errors import DecodeError, InvariantViolation
from primitives.hashing import tagged_hasher
from primitives.limits import MAX_PROOF_BYTES, TREE_ARITY

_hash_key = tagged_hasher("drex/key")


def prove_key(tree: StateTree, reader: StateReader, key: bytes, place: bytes) -> StateProof:
    """Prove the value of `key`, or that there is none. `place` is the entry's lock for outputs and
    balances, H("drex/key", key) for everything else."""
    nodes, bucket = _nodes_above(tree, place)
    pages, page_key, depth = [], bucket_page_key(bucket), 0
    while (page := tree.page(page_key)) is not None:
        pages.append(page)
        if page[0] != 0:
            break
        page_key += bytes((path_nibble(key, depth),))
        depth += 1
    is_there = bool(pages) and pages[-1][0] != 0 and key in leaf_entries(pages[-1])
    value = reader.get(key) if is_there else None  # an output under another lock is not in this bucket
    return StateProof(nodes, tuple(pages), () if value is None else ((key, value),))


def prove_output(tree: StateTree, reader: StateReader, txid: bytes, index: int, lock: bytes) -> StateProof:
    """Prove that the output is unspent under `lock`, or that no such output is."""
    return prove_key(tree, reader, output_key(txid, index), lock)


def prove_entry(tree: StateTree, reader: StateReader, key: bytes) -> StateProof:
    """Prove any entry that lies in the bucket of its key's hash: supply, policies, participants, freezes."""
    return prove_key(tree, reader, key, _hash_key(key))


def prove_address(tree: StateTree, reader: StateReader, lock: bytes) -> StateProof:
    """Prove every unspent output under `lock`, and that there is no other.

    Raises `DecodeError` (PROOF_TOO_LARGE) when the proof would exceed `MAX_PROOF_BYTES`."""
    return finish(prove_address_in_slices(tree, reader, lock))


def prove_address_in_slices(tree: StateTree, reader: StateReader, lock: bytes) -> Slices[StateProof]:
    """`prove_address` that yields after every page, at most 64 outputs. A commit meanwhile makes it
    worthless: then leave it."""
    nodes, bucket = _nodes_above(tree, lock)
    pages: list[bytes] = []
    values: list[tuple[bytes, bytes]] = []
    size = sum(map(len, nodes))
    for page in _all_pages(tree, bucket_page_key(bucket)):
        pages.append(page)
        size += len(page)
        for key in leaf_entries(page) if page[0] else ():
            if key[:1] == OUTPUT:
                value = reader.get(key)
                if value is None:
                    raise InvariantViolation("TREE_MISFIT", f"the state has no entry {key.hex()}")
                values.append((key, value))
                size += len(key) + len(value)
        if size > MAX_PROOF_BYTES:
            raise DecodeError("the proof would be too large", code="PROOF_TOO_LARGE", limit=MAX_PROOF_BYTES)
        yield
    values.sort()
    return StateProof(nodes, tuple(pages), tuple(values))


def _nodes_above(tree: StateTree, place: bytes) -> tuple[tuple[bytes, ...], int]:
    bucket = tree.bucket_of(place)
    nodes = (tree.node(level, bucket >> 4 * (level + 1)) for level in range(tree.depth))
    return tuple(nodes), bucket


def _all_pages(tree: StateTree, page_key: bytes) -> Iterator[bytes]:
    page = tree.page(page_key)
    if page is None:
        return
    yield page
    if page[0] == 0:
        for nibble in range(TREE_ARITY):
            yield from _all_pages(tree, page_key + bytes((nibble,)))
