"""Plays every dialogue of this folder. Each file names the rule it proves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.ballot_bench import BallotBench
from tests.scenarios.bench import Bench
from tests.scenarios.cluster_bench import ClusterBench
from tests.scenarios.language import Scenario, read_scenario
from tests.scenarios.proof_bench import ProofBench

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.txt"))


def play(scenario: Scenario) -> None:
    """Run a dialogue: every effect expected comes, in its order, and no other."""
    stage = scenario.settings.get("stage", "engine")
    benches: dict[str, Callable[[Scenario], Bench | ClusterBench | BallotBench | ProofBench]] = {
        "engine": Bench,
        "cluster": ClusterBench,
        "ballot": BallotBench,
        "proof": ProofBench,
    }
    bench = benches[stage](scenario)
    for step in scenario.steps:
        if step.kind == "=":
            bench.check(step)
            continue
        happened = bench.play(step)
        where = f"{scenario.path.name}:{step.line}: > {step.text}"
        assert happened == step.effects, f"{where}\nhappened:\n  " + "\n  ".join(happened)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dialogue(path: Path) -> None:
    play(read_scenario(path))


def test_all_58_scenarios_are_here_and_each_names_its_rule() -> None:
    scenarios = [read_scenario(path) for path in FILES]
    numbers = {scenario.number for scenario in scenarios}
    assert set(range(1, 59)) <= numbers
    assert all(scenario.rule for scenario in scenarios)
    assert all(int(scenario.path.stem.split("-")[0]) == scenario.number for scenario in scenarios)
