"""Whole nodes under the simulation: a few seeds, the same trace twice, and faults that must be seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.wholenode import search
from tests.wholenode.__main__ import main
from tests.wholenode.mutants import MUTANTS
from tests.wholenode.plots import PLOTS
from tests.wholenode.schedules import run_schedule


@pytest.mark.parametrize("plot", sorted(PLOTS))
def test_a_schedule_of_each_plot_keeps_every_promise(plot: str) -> None:
    result = run_schedule(1, plot)
    assert result.heights >= 1


def test_the_same_seed_gives_the_same_trace_twice() -> None:
    assert run_schedule(42) == run_schedule(42)


def test_a_schedule_that_was_found_once_stays_right() -> None:
    """24859: a block grew too old on a slow disk before its proposal left, which is nobody's fault."""
    assert run_schedule(24859).heights > 0


def test_another_seed_gives_another_trace() -> None:
    assert run_schedule(42, "crashes").trace != run_schedule(43, "crashes").trace


def test_the_trace_does_not_depend_on_the_order_of_sets() -> None:
    code = "from tests.wholenode.schedules import run_schedule; print(run_schedule(6).trace)"
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(traces) == 1


@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.within <= 10])
def test_a_broken_rule_is_found(name: str) -> None:
    assert search.hunt_mutant(name) is not None


def test_search_tells_seeds_speed_and_violations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--schedules", "2", "--jobs", "1", "--first", "2"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["schedules"] == 2
    assert summary["violations"] == []
    assert summary["schedules_per_minute_per_core"] > 0


def test_replay_shows_plot_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "2"]) == 0
    assert "trace " in capsys.readouterr().out
