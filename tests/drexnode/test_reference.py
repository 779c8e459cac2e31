"""What the documentation says about commands, keys, methods and metrics is what the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from drexnode.metrics import Metrics
from scripts import reference

DOCS = Path(__file__).parents[2] / "docs"
METRICS = {
    "chain_height",
    "head_timestamp_seconds",
    "sync_target_height",
    "block_interval_seconds",
    "block_txs",
    "block_execute_seconds",
    "qbft_round",
    "qbft_round_changes",
    "qbft_phase_seconds",
    "qbft_quorum_margin",
    "validator_last_signed_height",
    "validator_missed",
    "equivocations",
    "sign_seconds",
    "sign_refused",
    "peers",
    "peer_rtt_seconds",
    "dial_failures",
    "p2p_bytes",
    "gossip_messages",
    "mempool_txs",
    "mempool_bytes",
    "tx_rejected",
    "tx_finality_seconds",
    "hotset_entries",
    "hotset_bytes",
    "hotset_hits",
    "hotset_misses",
    "db_bytes",
    "disk_free_bytes",
    "loop_lag_seconds",
    "rpc_request_seconds",
    "supply_invariant_ok",
}


@pytest.mark.parametrize("page", reference.PAGES)
def test_the_made_parts_of_a_page_are_those_of_the_code(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert reference.written(text) == text, "run: .venv/bin/python -m scripts.reference"


def test_the_check_finds_a_page_that_is_behind() -> None:
    text = (DOCS / "rpc.md").read_text("utf-8")
    behind = text.replace("| `drex_chainId` |", "| `drex_chainID` |")
    assert behind != text
    assert reference.written(behind) == text


def test_every_metric_of_the_interface_is_exposed() -> None:
    found = {family.name.removeprefix("drex_") for family in Metrics().registry.collect()}
    assert found >= METRICS


def test_no_label_can_hold_an_address() -> None:
    labels = {
        label for collector in vars(Metrics()).values() for label in getattr(collector, "_labelnames", ())
    }
    harmless = {"stage", "reason", "phase", "validator", "role", "direction", "channel", "topic", "result"}
    assert labels <= harmless | {"code", "method", "where"}
