"""Is what is stored what it should be? The quick checks at every start (seconds).

The tip, the chain of its last parents with their certificates, the root of the state tree against the tip's
header, the supply books against the supply entries and, when the whole state fits in RAM, against the sum of
every unspent output. The full scan is in storage/verify.py. Nothing is repaired here.
"""

from __future__ import annotations

from ledger.slices import finish
from ledger.state_tree import StateTree
from primitives.block import BlockHeader, block_id
from primitives.errors import InvariantViolation, StorageFailure
from primitives.limits import INTEGRITY_PARENTS, TREE_CACHE_BYTES
from storage.books import check_all_books
from storage.chain_store import ChainStore
from storage.queries import ChainQueries
from storage.tree_rows import TreePages, replay


def check_open(
    store: ChainStore, chain_id: bytes, bucket_count: int, *, tree_bytes: int | None = None
) -> StateTree:
    """Check a store that was just opened, warm its hot set, and return the state tree at the tip. Blocking.
    The tree's pages are read into RAM up to `tree_bytes`, or with None each when it is first needed.

    Raises `StorageFailure` (STORAGE_CORRUPT) when rows are missing or do not fit, `InvariantViolation`
    (SUPPLY_MISMATCH) when the books differ.
    """
    try:
        pages = TreePages(store.database)
        cache_bytes = TREE_CACHE_BYTES if tree_bytes is None else tree_bytes
        tree = StateTree(bucket_count, pages, cache_bytes=cache_bytes, keeps_unsaved=True)
    except InvariantViolation as error:  # a page of another size
        raise _corrupt(error.message) from error
    if tree_bytes is not None:
        tree.preload(pages.bucket_pages())
    for _ in replay(store.database, tree):
        finish(tree.settle())
    sums = store.state.warm()
    tip = store.tip
    if tip is None:
        return tree
    _check_parents(ChainQueries(store, chain_id), tip.header)
    if tree.root != tip.header.state_root:
        raise _corrupt(f"the tree's root {tree.root.hex()} is not that of block {tip.height}")
    check_all_books(store.books, store.state.view)
    if sums and sums != {asset: amount for asset, amount in store.books.items() if amount}:
        raise InvariantViolation("SUPPLY_MISMATCH", "the unspent outputs do not sum to the books")
    return tree


def _check_parents(queries: ChainQueries, tip: BlockHeader) -> None:
    header = tip
    for _ in range(INTEGRITY_PARENTS):
        if header.height == 0:
            return
        certificate = queries.certificate(header.height)
        if certificate is None or certificate.block_id != block_id(header):
            raise _corrupt(f"block {header.height} lacks its certificate")
        parent = queries.header(header.height - 1)
        if parent is None or block_id(parent) != header.parent_id:
            raise _corrupt(f"block {header.height - 1} is not the parent of block {header.height}")
        header = parent


def _corrupt(what: str) -> StorageFailure:
    message = f"the database is damaged: {what}; run `drexnode verify`, then `drexnode repair`"
    return StorageFailure("STORAGE_CORRUPT", message)
