"""Every measurement runs from its command line, at a tiny size, and states machine, commit and noise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.long import LONG

TIMEOUT_S = 300
HELPED = ("network", "latency", "one", "down", "big_state", "observe", "model", "plots")


def bench(name: str, *arguments: str) -> dict[str, Any]:
    """The document that a measurement prints."""
    made = run(name, *arguments)
    assert made.returncode == 0, made.stderr
    document: dict[str, Any] = json.loads(made.stdout)
    assert document["machine"]["cores"] >= 1
    assert document["commit"]
    results: dict[str, Any] = document["results"]
    return results


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The measurement as its user starts it."""
    command = [sys.executable, "-m", f"scripts.bench.{name}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)


SMALL = ("--seconds", "3", "--repeat", "1", "--backlog", "600")


@pytest.mark.parametrize("name", HELPED)
def test_help_shows_an_example(name: str) -> None:
    made = run(name, "--help")
    assert made.returncode == 0
    assert f"Example: python -m scripts.bench.{name}" in " ".join(made.stdout.split())


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "signatures"),
    [("transfers", 1), pytest.param("one-holder", 1, marks=LONG), pytest.param("interbank", 2, marks=LONG)],
)
def test_a_window_counts_what_each_validator_verified_and_made_final(load: str, signatures: int) -> None:
    results = bench(
        "network",
        "--validators",
        "1",
        "--load",
        load,
        "--coins",
        "2000",
        "--wallets",
        "50",
        "--quick",
        *SMALL,
    )
    [window] = results[f"1 validators, {load}"]["backlog"]["workers-0"]["runs"]
    counted = window["final_in_the_window"]
    assert 0 < counted <= window["sent"]
    assert min(window["signatures_verified_by_each_validator"]) >= counted * signatures
    assert window["verification_limit_tx_per_s"] > 0
    assert set(window["noise"]) == {"cores_used_by_others", "steal_share"}


@LONG
@pytest.mark.network
@pytest.mark.slow
def test_latency_is_that_of_the_last_validator_by_rpc_and_by_p2p() -> None:
    results = bench("latency", "--payments", "4", "--rate", "40", "--seconds", "1", "--repeat", "1")
    for name in ("idle_by_rpc_final_on_all", "idle_by_p2p_final_on_all", "open_loop_40_final_on_all"):
        assert results[name]["p50_ms"]["median"] > 0
    assert results["runs"]["idle"][0]["by_p2p_final_on_all"]["count"] == 4


@LONG
@pytest.mark.network
@pytest.mark.slow
def test_one_validator_is_measured_on_one_core_and_on_two() -> None:
    results = bench("one", "--coins", "2000", *SMALL)
    assert set(results["ratio_to_the_first"]) == {"one core", "two cores and a worker"}


@LONG
@pytest.mark.network
@pytest.mark.slow
def test_three_of_four_validators_are_measured_against_four() -> None:
    results = bench("down", "--coins", "4000", "--payments", "2", *SMALL)
    [found] = results["rounds"]
    assert len(found["up"]["window"]["signatures_verified_by_each_validator"]) == 4
    assert len(found["down"]["window"]["signatures_verified_by_each_validator"]) == 3
    assert found["down"]["window"]["sent"] > 0
    assert results["idle_p50_ratio"]["median"] > 0


@LONG
@pytest.mark.network
@pytest.mark.slow
def test_a_large_state_is_grown_served_and_told_apart_by_part() -> None:
    results = bench(
        "big_state", "--outputs", "9000", "--wallets", "100", "--buckets", "4096", "--coins", "2000", *SMALL
    )
    found = results["9000 outputs"]
    assert found["parts"]["entries"] >= 9_000
    assert list(found["parts"]["mib"]) == ["interpreter", "program", "genesis and LevelDB", "hot set", "tree"]
    assert found["after_the_load"]["rss_mib"] > 0


@LONG
@pytest.mark.network
@pytest.mark.slow
def test_an_observer_catches_up_on_one_core_and_on_two(tmp_path: Path) -> None:
    results = bench(
        "observe",
        "--blocks",
        "60",
        "--transactions",
        "50",
        "--repeat",
        "1",
        "--chain",
        str(tmp_path / "chain"),
    )
    assert results["one core"]["tx_per_s"]["median"] > 0
    assert results["ratio"] > 0


@pytest.mark.slow
def test_the_model_is_played_for_each_number_of_validators_and_drawn(tmp_path: Path) -> None:
    out = tmp_path / "model.json"
    results = bench("model", "--transactions", "200", "--out", str(out))
    rows = results["curve"]["1000"]
    assert [row["validators"] for row in rows] == [4, 7, 10, 25, 50, 100]
    assert rows[0]["block_interval_ms"] <= rows[-1]["block_interval_ms"]
    drawn = run("plots", "--dir", str(tmp_path), "--out", str(tmp_path))
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "model.svg").read_text().startswith("<svg")


def test_plots_without_figures_say_what_makes_them(tmp_path: Path) -> None:
    made = run("plots", "--dir", str(tmp_path), "--out", str(tmp_path))
    assert made.returncode != 0
    assert "make bench-full" in made.stderr
