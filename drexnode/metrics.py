"""Every metric the node exposes, declared once, in a registry of its own (docs/rpc.md, "Metrics").

Names carry the prefix `drex_`; no label ever holds an address, a key or an amount. The event loop is the only
writer. Buckets are fixed here, so that dashboards and alerts can count on them.
"""

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LONG = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)


class Metrics:
    """All metrics of one node. Attributes are named as in `/metrics`, without the prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._declare_chain()
        self._declare_consensus()
        self._declare_network()
        self._declare_money_and_disk()
        self._declare_process()

    def render(self) -> bytes:
        """The Prometheus text format."""
        return bytes(generate_latest(self.registry))

    def count_signatures(self, where: str, count: int) -> None:
        """So many signatures were verified: `inline` or by a `worker`."""
        self.signatures_verified_total.labels(where).inc(count)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"drex_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"drex_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: tuple[float, ...] = SHORT
    ) -> Histogram:
        return Histogram(f"drex_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _declare_chain(self) -> None:
        self.chain_height = self._gauge("chain_height", "Height of the highest final block.")
        self.head_timestamp_seconds = self._gauge(
            "head_timestamp_seconds", "Timestamp of the highest final block."
        )
        self.sync_target_height = self._gauge("sync_target_height", "Highest tip a peer has shown.")
        self.block_interval_seconds = self._histogram(
            "block_interval_seconds", "Time between two final blocks.", buckets=LONG
        )
        self.block_period_seconds = self._gauge(
            "block_period_seconds", "Longest time between blocks while nothing waits; 0: no empty blocks."
        )
        self.block_txs = self._histogram(
            "block_txs",
            "Transactions in a block.",
            buckets=(0, 1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
        )
        self.block_execute_seconds = self._histogram(
            "block_execute_seconds", "Work on a block by stage.", ("stage",)
        )

    def _declare_consensus(self) -> None:
        self.qbft_round = self._gauge("qbft_round", "Round of the height being decided.")
        self.qbft_round_changes_total = self._counter(
            "qbft_round_changes_total", "Rounds left, by reason.", ("reason",)
        )
        self.qbft_phase_seconds = self._histogram(
            "qbft_phase_seconds", "Time spent in a phase.", ("phase",), LONG
        )
        self.qbft_quorum_margin = self._gauge("qbft_quorum_margin", "Reachable validators above the quorum.")
        self.validator_last_signed_height = self._gauge(
            "validator_last_signed_height",
            "Last height whose certificate holds the validator's seal.",
            ("validator",),
        )
        self.validator_missed_total = self._counter(
            "validator_missed_total", "Certificates without the validator's seal.", ("validator",)
        )
        self.equivocations_total = self._counter("equivocations_total", "Validators caught signing twice.")
        self.sign_seconds = self._histogram("sign_seconds", "Journal, watermark and signature of a vote.")
        self.sign_refused_total = self._counter(
            "sign_refused_total", "Votes not signed, by reason.", ("reason",)
        )

    def _declare_network(self) -> None:
        self.peers = self._gauge("peers", "Connected peers.", ("role", "direction"))
        self.peer_rtt_seconds = self._histogram("peer_rtt_seconds", "Round trip of a ping.")
        self.dial_failures_total = self._counter(
            "dial_failures_total", "Dials that failed, by reason.", ("reason",)
        )
        self.p2p_bytes_total = self._counter(
            "p2p_bytes_total", "Bytes moved between peers.", ("channel", "direction")
        )
        self.gossip_messages_total = self._counter(
            "gossip_messages_total", "Gossip messages by what became of them.", ("topic", "result")
        )
        self.mempool_txs = self._gauge("mempool_txs", "Transactions waiting for a block.")
        self.mempool_bytes = self._gauge("mempool_bytes", "Bytes of transactions waiting for a block.")
        self.tx_rejected_total = self._counter(
            "tx_rejected_total", "Transactions refused, by code.", ("code",)
        )
        self.signatures_verified_total = self._counter(
            "signatures_verified_total", "Signatures verified, inline or by a worker.", ("where",)
        )
        self.tx_finality_seconds = self._histogram(
            "tx_finality_seconds", "From admission by this node to FINAL.", buckets=LONG
        )

    def _declare_money_and_disk(self) -> None:
        self.hotset_entries = self._gauge("hotset_entries", "Unspent outputs held in RAM.")
        self.hotset_bytes = self._gauge("hotset_bytes", "RAM of the hot set.")
        self.hotset_hits_total = self._counter("hotset_hits_total", "Reads answered by the hot set.")
        self.hotset_misses_total = self._counter("hotset_misses_total", "Reads that went to LevelDB.")
        self.db_bytes = self._gauge("db_bytes", "Bytes of the data directory.")
        self.disk_free_bytes = self._gauge("disk_free_bytes", "Free bytes on the data directory's disk.")
        self.supply_invariant_ok = self._gauge(
            "supply_invariant_ok", "1 while both books of the supply agree."
        )
        self.supply_invariant_ok.set(1)

    def _declare_process(self) -> None:
        self.clock_seconds = self._gauge("clock_seconds", "This node's wall clock at the scrape.")
        self.tasks = self._gauge("tasks", "Tasks of the event loop that live.")
        self.loop_lag_seconds = self._histogram("loop_lag_seconds", "How late the event loop runs a timer.")
        self.rpc_request_seconds = self._histogram(
            "rpc_request_seconds", "Time to answer an RPC call; code 0 is success.", ("method", "code")
        )
