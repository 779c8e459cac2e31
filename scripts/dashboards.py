"""Writes the four Grafana dashboards of deploy/monitoring/dashboards from the short descriptions below.

    .venv/bin/python -m scripts.dashboards          writes them
    .venv/bin/python -m scripts.dashboards --check  ends with 1 when a file is not what this makes

Every query asks for metrics that the node exposes (tests/drexnode/test_monitoring.py), and is filtered by the
dashboard's variable `instance`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy" / "monitoring" / "dashboards"
SCHEMA_VERSION = 39
WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 24, 8, 8
I = 'instance=~"$instance"'  # noqa: E741 - stands in every query


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: title, unit as Grafana names it, and queries by legend."""

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"


def _quantiles(metric: str, by: str = "") -> dict[str, str]:
    """Median and 99th percentile of a histogram over five minutes."""
    names = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    rate = f"sum by ({names}) (rate(drex_{metric}_bucket{{{I}}}[5m]))"
    return {
        f"median{legend}": f"histogram_quantile(0.5, {rate})",
        f"99 %{legend}": f"histogram_quantile(0.99, {rate})",
    }


def _gauge(metric: str, legend: str = "{{instance}}") -> dict[str, str]:
    return {legend: f"drex_{metric}{{{I}}}"}


def _rate(metric: str, by: str) -> dict[str, str]:
    legend = " ".join(f"{{{{{name.strip()}}}}}" for name in by.split(","))
    return {legend: f"sum by ({by}) (rate(drex_{metric}_total{{{I}}}[5m]))"}


DASHBOARDS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "chain": (
        "drexnode: chain",
        (
            Panel("Height", "short", _gauge("chain_height"), "stat"),
            Panel(
                "Since the last block", "s",
                {"{{instance}}": f"time() - drex_head_timestamp_seconds{{{I}}}"},
            ),
            Panel(
                "Blocks behind peers", "short",
                {"{{instance}}": f"drex_sync_target_height{{{I}}} - drex_chain_height{{{I}}}"},
            ),
            Panel("Time between blocks", "s", _quantiles("block_interval_seconds")),
            Panel("Longest time without work", "s", _gauge("block_period_seconds"), "stat"),
            Panel("Transactions in a block", "short", _quantiles("block_txs")),
            Panel("Work on a block by stage", "s", _quantiles("block_execute_seconds", "stage")),
            Panel("From admission to final", "s", _quantiles("tx_finality_seconds")),
            Panel("Supply books agree", "short", _gauge("supply_invariant_ok"), "stat"),
        ),
    ),
    "consensus": (
        "drexnode: consensus",
        (
            Panel("Reachable validators above the quorum", "short", _gauge("qbft_quorum_margin"), "stat"),
            Panel("Round", "short", _gauge("qbft_round")),
            Panel("Rounds left by reason", "cps", _rate("qbft_round_changes", "reason")),
            Panel("Time in a phase", "s", _quantiles("qbft_phase_seconds", "phase")),
            Panel(
                "Blocks since a validator's last seal", "short",
                {
                    "validator {{validator}}": f"max by (validator) (drex_chain_height{{{I}}} - "
                    f"ignoring(validator) group_right drex_validator_last_signed_height{{{I}}})"
                },
            ),
            Panel("Certificates without the validator's seal", "cps", _rate("validator_missed", "validator")),
            Panel("Making a vote durable and signing it", "s", _quantiles("sign_seconds")),
            Panel("Votes not signed", "cps", _rate("sign_refused", "reason")),
            Panel("Validators caught signing twice", "short", _gauge("equivocations_total"), "stat"),
        ),
    ),
    "network": (
        "drexnode: network and pool",
        (
            Panel("Peers by role", "short", {"{{role}}": f"sum by (role) (drex_peers{{{I}}})"}),
            Panel("Round trip of a ping", "s", _quantiles("peer_rtt_seconds")),
            Panel("Dials that failed", "cps", _rate("dial_failures", "reason")),
            Panel("Bytes by channel", "Bps", _rate("p2p_bytes", "channel, direction")),
            Panel("Gossip by result", "cps", _rate("gossip_messages", "topic, result")),
            Panel("Transactions waiting", "short", _gauge("mempool_txs")),
            Panel("Bytes waiting", "bytes", _gauge("mempool_bytes")),
            Panel("Transactions refused", "cps", _rate("tx_rejected", "code")),
            Panel("Signatures verified", "cps", _rate("signatures_verified", "where")),
        ),
    ),
    "node": (
        "drexnode: the machine",
        (
            Panel("Free disk", "bytes", _gauge("disk_free_bytes")),
            Panel("Data directory", "bytes", _gauge("db_bytes")),
            Panel("Event loop is late by", "s", _quantiles("loop_lag_seconds")),
            Panel(
                "Clock against Prometheus", "s",
                {"{{instance}}": f"drex_clock_seconds{{{I}}} - timestamp(drex_clock_seconds{{{I}}})"},
            ),
            Panel("Tasks", "short", _gauge("tasks")),
            Panel("Hot set", "short", _gauge("hotset_entries")),
            Panel("RAM of the hot set", "bytes", _gauge("hotset_bytes")),
            Panel(
                "Reads answered by the hot set", "percentunit",
                {
                    "{{instance}}": f"rate(drex_hotset_hits_total{{{I}}}[5m]) / "
                    f"(rate(drex_hotset_hits_total{{{I}}}[5m]) + rate(drex_hotset_misses_total{{{I}}}[5m]))"
                },
            ),
            Panel("RPC calls", "reqps", {
                "{{method}}": f"sum by (method) (rate(drex_rpc_request_seconds_count{{{I}}}[5m]))"
            }),
            Panel("Time to answer an RPC call", "s", _quantiles("rpc_request_seconds")),
        ),
    ),
}  # fmt: skip


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"drexnode-{name}",
        "title": title,
        "tags": ["drexnode"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_datasource(), _instance()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "data source"}


def _instance() -> dict[str, Any]:
    return {
        "name": "instance",
        "type": "query",
        "label": "node",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": "label_values(drex_chain_height, instance)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, WIDTH // PANEL_WIDTH)
    source = {"type": "prometheus", "uid": "${datasource}"}
    place = {"h": PANEL_HEIGHT, "w": PANEL_WIDTH, "x": column * PANEL_WIDTH, "y": row * PANEL_HEIGHT}
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": None}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + letter), "expr": query, "legendFormat": legend, "datasource": source}
            for letter, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def text(name: str) -> str:
    """The file of a dashboard."""
    return json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files, or check them; the exit code."""
    behind = []
    for name in DASHBOARDS:
        path = FOLDER / f"{name}.json"
        if not path.exists() or path.read_text("utf-8") != text(name):
            behind.append(path.name)
            if "--check" not in sys.argv:
                FOLDER.mkdir(parents=True, exist_ok=True)
                path.write_text(text(name), "utf-8")
    print(f"{'behind' if '--check' in sys.argv else 'written'}: {', '.join(behind) or 'none'}")
    return 1 if behind and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
