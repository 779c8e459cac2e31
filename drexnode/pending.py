"""The transactions that wait at this node, page by page, as the RPC lists them (`txpool_content`).

A page is of one moment; the pool moves between two of them. Whoever goes on after an entry misses nothing
that waits all the while, though an entry that left the pool meanwhile is not told.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile, islice

from drexnode.rpc.node_values import PendingInfo
from ledger.mempool import Entry, Mempool


def pending_page(pool: Mempool, after: tuple[int, bytes] | None, limit: int) -> list[PendingInfo]:
    """At most `limit` entries, the oldest first, after (added_ms, txid) of an earlier page."""
    return [_info(entry) for entry in islice(_entries_after(pool, after), limit)]


def _entries_after(pool: Mempool, after: tuple[int, bytes] | None) -> Iterator[Entry]:
    entries = pool.entries()
    if after is None:
        return entries
    added_ms, txid = after
    if txid not in pool:
        return dropwhile(lambda entry: entry.added_ms < added_ms, entries)
    rest = dropwhile(lambda entry: entry.transaction.txid != txid, entries)
    return islice(rest, 1, None)


def _info(entry: Entry) -> PendingInfo:
    transaction = entry.transaction
    return PendingInfo(
        txid=transaction.txid,
        wtxid=transaction.wtxid,
        kind=transaction.kind.name,
        size_bytes=transaction.size,
        participant=entry.participant,
        added_ms=entry.added_ms,
        parents=entry.parents,
    )
