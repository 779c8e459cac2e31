"""The simulator in every test run: some hundred schedules, each kind, twins, and that it sees faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulator import chain, mutants
from tests.simulator.memo import remembered
from tests.simulator.oracle import Oracle, Violation
from tests.simulator.schedules import KINDS, prepare, run_schedule
from tests.simulator.search import (
    CHUNK,
    fork_of_too_many_twins,
    hunt_mutant,
    run_chunk,
    run_sampled_twins,
    run_twin_plans,
    search,
)
from tests.simulator.stage import make_stage
from tests.simulator.villains import EquivocatingProposer

SEARCHED_CHUNKS = 5
FAST_MUTANTS = [name for name, mutant in mutants.MUTANTS.items() if mutant.within <= 100]


@pytest.mark.parametrize("chunk", range(SEARCHED_CHUNKS))
def test_seeded_schedules_break_no_promise(chunk: int) -> None:
    tally = run_chunk(chunk * CHUNK)
    assert not tally.found, [f"make sim SEED={seed}: {name}: {text}" for seed, name, text in tally.found]


# 35728: a disk's backlog of slow votes outlasts the healing. 165999: two villains that answer each other.
@pytest.mark.parametrize("seed", [35728, 165999])
def test_a_schedule_that_was_found_once_stays_right(seed: int) -> None:
    assert run_schedule(seed).rounds_after_healing <= 3


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_schedule_is_safe_and_goes_on(kind: str) -> None:
    for seed in (1, 2, 3):
        assert run_schedule(seed, kind).heights >= 2


def test_more_than_f_down_for_an_hour_then_back() -> None:
    result = run_schedule(1, "down_for_an_hour")
    assert result.simulated_ms > 3_600_000
    assert result.rounds_after_healing <= 3


def test_f_plus_1_amnesiacs_fall_silent_and_fork_nothing() -> None:
    for seed in range(6):
        stage, _ = prepare(seed, "too_many_amnesiacs")
        stage.world.run(stage.safety_ms)
        height = max(len(node.disk.chain) for node in stage.nodes)
        stage.is_healed = True
        stage.world.network.calm()
        stage.world.run(stage.safety_ms + 5000)
        for node in stage.nodes[: stage.faulty + 1]:
            assert node.core is not None
            assert not node.core._gate.enabled  # no vote before T + 2, which nobody can decide
        assert max(len(node.disk.chain) for node in stage.nodes) <= height + 1


def test_the_same_seed_gives_the_same_trace_in_another_process() -> None:
    def replay(hash_seed: str) -> list[str]:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "tests.simulator", "--seed", "17"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stdout.splitlines()

    first = replay("1")
    assert first[0].startswith("seed 17  commit ")
    assert first[-1].startswith("trace ")
    assert first == replay("2")


@pytest.mark.parametrize("seed", [5, 17, 23])
def test_remembering_pure_functions_changes_no_trace(seed: int) -> None:
    plain = run_schedule(seed)
    with remembered():
        assert run_schedule(seed) == plain


def test_a_stopped_search_goes_on_at_the_next_seed() -> None:
    whole = search(900, schedules=60, jobs=2).summary()
    first, second = search(900, schedules=25, jobs=1), search(925, schedules=35, jobs=2)
    first.add(second)
    timings = {"cpu_seconds", "schedules_per_minute_per_core", "steps_per_second"}
    assert {k: v for k, v in first.summary().items() if k not in timings} == {
        k: v for k, v in whole.items() if k not in timings
    }
    assert whole["schedules"] == 60
    assert sum(whole["rounds_after_healing"].values()) == 60


def test_a_decision_that_takes_too_many_rounds_after_healing_is_a_violation() -> None:
    oracle = Oracle(chain.CHAIN_ID)
    oracle.heal(7, highest_round=5, faulty=1)
    oracle._check_rounds(0, 7, 8)
    oracle._check_rounds(1, 8, 3)
    for height, round in ((7, 9), (8, 4)):
        with pytest.raises(Violation, match="liveness"):
            oracle._check_rounds(2, height, round)
    assert oracle.rounds_taken[8] == 4


def test_different_seeds_give_different_traces() -> None:
    assert len({run_schedule(seed, "random_faults").trace for seed in range(5)}) == 5


def test_schedules_with_real_signatures_hold_too() -> None:
    assert run_schedule(7, "crashes").heights >= 2


def test_f_twins_never_fork_whatever_the_splits() -> None:
    tally = run_twin_plans(stride=61)  # prime, so the splits of all rounds vary
    assert tally.schedules > 1000
    assert not tally.found, tally.found


def test_two_twins_of_seven_never_fork_under_sampled_splits() -> None:
    tally = run_sampled_twins(60)
    assert tally.schedules == 60
    assert not tally.found, tally.found


def test_three_twins_of_seven_fork() -> None:
    assert "agreement" in fork_of_too_many_twins(7)


def test_f_plus_1_twins_fork_and_the_oracle_sees_it() -> None:
    assert "agreement" in fork_of_too_many_twins()


@pytest.mark.parametrize("name", FAST_MUTANTS)
def test_a_seeded_fault_is_found(name: str) -> None:
    assert hunt_mutant(name) is not None, f"{name} stays hidden"


def test_a_mutant_leaves_no_trace_behind() -> None:
    before = run_schedule(5).trace
    with mutants.apply("quorum minus one"):
        pass
    assert run_schedule(5).trace == before


@pytest.mark.parametrize(
    ("seed", "kind"),
    [
        (1000418, "journals_lost"),  # two torn slots and two lost journals: more than f in quarantine
        (1000478, "journals_lost"),  # a locked block that nobody held any more
        (1000591, "journals_lost"),
        (1000855, "clock_steps"),  # a quorum an hour ahead takes the chain's time along
        (1001319, "clock_steps"),
        (2000080, "hidden_lock"),  # a hunt that could not read what a vandal sent
    ],
)
def test_seeds_that_taught_the_plots_their_bounds(seed: int, kind: str) -> None:
    assert run_schedule(seed, kind).heights >= 2


def test_equivocation_is_proven_and_only_against_villains() -> None:
    accused = set()
    for seed in range(6):
        stage = make_stage(seed, 4, {3: EquivocatingProposer})
        for node in stage.nodes:
            node.boot()
        stage.world.run(5000)
        accused |= stage.world.oracle.evidence
    assert accused == {chain.public_key(3)}
