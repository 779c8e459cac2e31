"""Schedules: from a seed to a world, through a safety phase and a liveness phase, to a result.

In the safety phase anything may happen within the plot (`plots`, `hunts`). In the liveness phase the network
heals, those who can come back do, and everyone honest must decide further heights within a bound.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from tests.simulator import chain
from tests.simulator.hunts import HUNTS, too_many_amnesiacs
from tests.simulator.node import Node
from tests.simulator.oracle import Violation
from tests.simulator.plots import HONEST_PLOTS, down_for_an_hour, watermarks_rot, worst_of_all
from tests.simulator.stage import SAFETY_MS, Stage, make_stage
from tests.simulator.villains import ATTACKERS, VILLAINS

LIVENESS_MS = 60_000
REAL_SIGNATURES_EACH = 100  # one schedule of so many signs with Ed25519

_COMMON = [*HONEST_PLOTS, watermarks_rot, worst_of_all, *HUNTS]
KINDS = {plot.__name__: plot for plot in _COMMON}
# Played by name only: too long, or with another end than going on.
RARE_KINDS = {plot.__name__: plot for plot in (too_many_amnesiacs, down_for_an_hour)}
HUNTED = tuple(hunt.__name__ for hunt in HUNTS)
ONLY_HONEST = (
    "churn",
    "worst_of_all",
    "watermarks_rot",
    "clock_steps",
    "too_many_amnesiacs",
    "down_for_an_hour",
)


@dataclass
class Result:
    """What one schedule did."""

    seed: int
    kind: str
    trace: int
    steps: int
    heights: int
    simulated_ms: int
    rounds_after_healing: int = 0  # of the height under way, above the highest honest round at healing
    rounds_of_later_heights: int = 0  # the most that a height begun after healing took


def run_schedule(seed: int, kind: str | None = None, heights: int = 20) -> Result:
    """Run the schedule of this seed. Raises `Violation` (or whatever the engine raised) when it finds one."""
    with chain.real_signatures() if seed % REAL_SIGNATURES_EACH == 7 else nullcontext():
        stage, name = prepare(seed, kind)
        result = run_stage(stage, name, heights)
    stage.world.release()
    return result


def prepare(seed: int, kind: str | None = None) -> tuple[Stage, str]:
    """The world of a seed, its faults planted, its nodes soon to boot."""
    dice = random.Random(seed * 7919 + 1)
    size = 7 if dice.random() < 0.1 and kind not in RARE_KINDS else 4
    faulty = (size - 1) // 3
    villains: dict[int, type[Node]] = {}
    extra = 0
    if dice.random() < 0.4:
        villains = {size - 1 - i: dice.choice(VILLAINS) for i in range(faulty)}
        if dice.random() < 0.25:
            villains, extra = {}, faulty
    name = kind or dice.choice(sorted(KINDS))
    if name in HUNTED and dice.random() < 0.8:
        villains, extra = {size - 1 - i: dice.choice(ATTACKERS) for i in range(faulty)}, 0
    if name in ONLY_HONEST:
        villains, extra = {}, 0  # f villains and honest members lost would be too many
    stage = make_stage(seed, size, villains, extra)
    (KINDS | RARE_KINDS)[name](stage)
    for node in stage.nodes:
        stage.world.after(0, node.boot)
    plant_transactions(stage)
    return stage, name


def plant_transactions(stage: Stage) -> None:
    """Something to do, at random times, at one or two nodes each."""
    dice = stage.world.random
    for number in range(24):
        body = (chain.plain_transaction(number),)
        for node in dice.sample(stage.nodes[: stage.size], dice.randrange(1, 3)):
            stage.world.after(dice.randrange(2 * SAFETY_MS), node.add_transactions, body)


def run_stage(stage: Stage, name: str, heights: int) -> Result:
    """Safety phase, healing, liveness phase."""
    world = stage.world

    def all_at(height: int) -> Callable[[], bool]:
        return lambda: min(len(node.disk.chain) for node in stage.honest) > height

    world.run(stage.safety_ms, all_at(heights))
    heal(stage)
    if not stage.must_go_on:
        world.run(world.now + SAFETY_MS)
        return Result(world.seed, name, world.trace, world.steps, len(world.oracle.decided), world.now)
    # What a slow disk was given before still takes its time: the network is whole when that is done.
    world.run(max(world.now, *(node.signer_free_at for node in stage.honest)))
    first = max(len(node.disk.chain) for node in stage.honest)
    highest_round = max(node.current_round() for node in stage.honest if len(node.disk.chain) == first)
    world.oracle.heal(first, highest_round, stage.faulty)
    target = max(first + 2, heights)
    if not world.run(world.now + LIVENESS_MS, all_at(target)):
        state = [(len(node.disk.chain), node.current_round()) for node in stage.honest]
        raise Violation(f"liveness: not all reached height {target} after healing: {state}")
    for node in stage.honest:
        seen = node.core.observe() if node.core is not None else None
        if seen is not None and (seen.round != node.current_round() or len(seen.asked_rounds) < 4):
            raise Violation(f"observation: node {node.number} shows round {seen.round}")
    taken = world.oracle.rounds_taken
    later = max((rounds for height, rounds in taken.items() if height > first), default=0)
    return Result(world.seed, name, world.trace, world.steps, target, world.now, taken.get(first, 0), later)


def heal(stage: Stage) -> None:
    """The network is whole again, machines behave, who was down comes back; villains stay villains.

    Clocks that are wrong stay wrong as long as no more than f validators, villains included, are hurt."""
    stage.is_healed = True
    stage.world.network.calm()
    wrong = [node for node in stage.honest if node.faults.clock_offset_ms]
    for node in stage.nodes:
        node.faults.crash_in_vote = node.faults.journal_rot = node.faults.slot_rot = 0.0
        node.faults.sync_ms = 1
        node.faults.signer_fails = 0.0
        node.faults.clock_rate = 1.0
        node.faults.restart_after_ms = 5
        if len(wrong) + stage.size - len(stage.honest) > stage.faulty:
            node.faults.clock_offset_ms = 0
        if node.core is None:
            stage.world.after(5, node.boot)
