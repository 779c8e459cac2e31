"""Brings the metrics up to date that are read, not counted: once a scrape, never in between.

Totals that others keep (traffic, the hot set) are added as what they grew by since the last time.
"""

from __future__ import annotations

import os
import time
from collections import Counter as Tally
from collections.abc import Callable, Mapping
from pathlib import Path

import trio.lowlevel
from prometheus_client import Counter

from drexnode.metrics import Metrics
from drexnode.rpc.node_values import PeerInfo
from ledger.mempool import Mempool
from p2p.transport import Transport
from storage.chain_store import ChainStore


class Gauges:
    """The sources of one node's gauges."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        transport: Transport,
        store: ChainStore,
        pool: Mempool,
        data_path: Path,
        sync_target: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._transport = transport
        self._store = store
        self._pool = pool
        self._data_path = data_path
        self._sync_target = sync_target
        self._seen: dict[tuple[str, tuple[str, ...]], int] = {}

    def refresh(self, peers: list[PeerInfo]) -> None:
        """Read every source."""
        metrics = self._metrics
        metrics.clock_seconds.set(time.time())
        metrics.tasks.set(trio.lowlevel.current_statistics().tasks_living)
        metrics.mempool_txs.set(len(self._pool))
        metrics.mempool_bytes.set(self._pool.size_bytes)
        metrics.sync_target_height.set(self._sync_target())
        metrics.db_bytes.set(directory_bytes(self._data_path))
        figures = self._store.state.figures()
        metrics.hotset_entries.set(figures.entries)
        metrics.hotset_bytes.set(figures.bytes)
        self._grow(metrics.hotset_hits_total, (), figures.hits)
        self._grow(metrics.hotset_misses_total, (), figures.misses)
        self._refresh_peers(peers)
        self._refresh_traffic()

    def _refresh_peers(self, peers: list[PeerInfo]) -> None:
        metrics = self._metrics
        metrics.peers.clear()
        for (role, direction), count in Tally((peer.role, str(peer.direction)) for peer in peers).items():
            metrics.peers.labels(role, direction).set(count)
        for peer in peers:
            if peer.rtt_ms is not None:
                metrics.peer_rtt_seconds.observe(peer.rtt_ms / 1000)

    def _refresh_traffic(self) -> None:
        metrics, traffic = self._metrics, self._transport.counters()
        self._grow_all(metrics.p2p_bytes_total, traffic.bytes_by_channel)
        self._grow_all(metrics.gossip_messages_total, traffic.gossip)
        for reason, total in traffic.dial_failures.items():
            self._grow(metrics.dial_failures_total, (reason,), total)

    def _grow_all(self, counter: Counter, totals: Mapping[tuple[str, str], int]) -> None:
        for labels, total in totals.items():
            self._grow(counter, labels, total)

    def _grow(self, counter: Counter, labels: tuple[str, ...], total: int) -> None:
        key = (str(counter), labels)
        grown = total - self._seen.get(key, 0)
        if grown > 0:
            self._seen[key] = total
            (counter.labels(*labels) if labels else counter).inc(grown)


def directory_bytes(path: Path) -> int:
    """Bytes of all files below `path`; what vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
