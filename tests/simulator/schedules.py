"""Kinds of schedules: what goes wrong, when, and for how long. Each prepares a world and plants its faults.

A schedule has a safety phase, in which anything may happen within its plot, and a liveness phase: the network
heals, those who can come back do, and everyone honest must decide further heights within a bound.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from consensus.messages import Commit, decode_message
from tests.simulator import chain
from tests.simulator.node import Node
from tests.simulator.oracle import Oracle, Violation
from tests.simulator.villains import ATTACKERS, VILLAINS, Twin
from tests.simulator.world import World

TIMES = {
    "base_timeout_ms": 150,
    "max_timeout_ms": 2400,
    "min_block_interval_ms": 0,
    "empty_block_period_ms": 300,
    "resend_interval_ms": 60,
}
SAFETY_MS = 4000
LIVENESS_MS = 60_000


@dataclass
class Result:
    """What one schedule did."""

    seed: int
    kind: str
    trace: int
    steps: int
    heights: int
    simulated_ms: int
    rounds_after_healing: int


@dataclass
class Stage:
    """A world being prepared."""

    world: World
    size: int
    nodes: list[Node]
    is_healed: bool = False

    @property
    def faulty(self) -> int:
        """f of the first set."""
        return (self.size - 1) // 3

    def at(self, delay: int, action: Callable[..., None], *arguments: object) -> None:
        """Plant something for the safety phase; it does not happen any more once the world has healed."""
        self.world.after(delay, self._strike, action, arguments)

    def _strike(self, action: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if not self.is_healed:
            action(*arguments)

    def moment(self) -> int:
        """Some time in the safety phase."""
        return self.world.random.randrange(SAFETY_MS)


def make_stage(seed: int, size: int, villains: dict[int, type[Node]], extra: int = 0) -> Stage:
    """Nodes 0 … size-1 (villains where named), and `extra` twins of the last ones' keys."""
    twins = {size + i: size - 1 - i for i in range(extra)}
    bad = frozenset(villains) | frozenset(twins) | frozenset(twins.values())
    world = World(seed, Oracle(chain.CHAIN_ID, bad))
    for number in range(size + extra):
        kind = Twin if number in twins else villains.get(number, Node)
        world.nodes.append(kind(world, number, twins.get(number, number), size, TIMES))
    return Stage(world, size, world.nodes)


# --- plots of the safety phase


def random_faults(stage: Stage) -> None:
    """Loss, duplication, reordering, stragglers, all at once."""
    network, dice = stage.world.network, stage.world.random
    network.loss = dice.choice((0.0, 0.02, 0.1, 0.3))
    network.duplication = dice.choice((0.0, 0.1, 0.5))
    network.max_delay = dice.choice((10, 50, 200))
    network.straggle = dice.choice((0.0, 0.02, 0.2))


def split_in_halves(stage: Stage) -> None:
    """2/2, several times, healed between."""
    random_faults(stage)
    for _ in range(3):
        members = list(range(len(stage.nodes)))
        stage.world.random.shuffle(members)
        half = len(members) // 2
        stage.at(stage.moment(), stage.world.network.split, set(members[:half]), set(members[half:]))
        stage.at(stage.moment(), stage.world.network.blocked.clear)


def rotating_isolation(stage: Stage) -> None:
    """One node after another is cut off."""
    period = stage.world.random.choice((100, 250, 600))
    for i in range(SAFETY_MS // period):
        stage.at(i * period, stage.world.network.isolate, i % stage.size, len(stage.nodes))


def one_way_links(stage: Stage) -> None:
    """Some hear whom they can't reach."""
    pairs = [(a, b) for a in range(stage.size) for b in range(stage.size) if a != b]
    for _ in range(6):
        chosen = stage.world.random.sample(pairs, stage.size)
        stage.at(stage.moment(), stage.world.network.blocked.update, chosen)
        stage.at(stage.moment(), stage.world.network.blocked.clear)


def crashes(stage: Stage) -> None:
    """Power cuts at any moment, many of them in the middle of a vote."""
    dice = stage.world.random
    if dice.random() < 0.5:
        random_faults(stage)
    for node in stage.nodes:
        node.faults.crash_in_vote = dice.choice((0.0, 0.01, 0.1))
        node.faults.restart_after_ms = dice.choice((5, 100, 900))
        for _ in range(dice.randrange(4)):
            stage.at(stage.moment(), node.crash)


def power_cut_on_all(stage: Stage) -> None:
    """Everybody at once, again and again."""
    for _ in range(stage.world.random.randrange(1, 6)):
        moment = stage.moment()
        for node in stage.nodes:
            node.faults.restart_after_ms = stage.world.random.choice((5, 5, 200))
            stage.at(moment, node.crash)


def decided_one_isolated(stage: Stage) -> None:
    """Whoever is ahead is cut off, and the others restart."""

    def strike() -> None:
        ahead = max(stage.nodes, key=lambda node: len(node.disk.chain))
        stage.world.network.isolate(ahead.number, len(stage.nodes))
        for node in stage.nodes:
            if node is not ahead:
                node.crash()

    for _ in range(3):
        stage.at(stage.moment(), strike)
        stage.at(stage.moment(), stage.world.network.blocked.clear)


def clocks(stage: Stage) -> None:
    """Clocks that are wrong, and run fast or slow."""
    dice = stage.world.random
    for node in stage.nodes:
        node.faults.clock_rate = dice.choice((0.5, 0.9, 1.0, 1.1, 3.0))
    stage.nodes[dice.randrange(stage.size)].faults.clock_offset_ms = dice.choice((-3_600_000, 3_600_000, 400))
    random_faults(stage)


def slow_disk(stage: Stage) -> None:
    """One validator's disk takes its time; all may crash."""
    stage.nodes[stage.world.random.randrange(stage.size)].faults.sync_ms = stage.world.random.choice(
        (50, 300)
    )
    crashes(stage)


def many_down(stage: Stage) -> None:
    """More than f are down for most of the time, then back."""
    for node in stage.nodes[: stage.faulty + 1 + stage.world.random.randrange(2)]:
        node.faults.restart_after_ms = SAFETY_MS
        stage.at(stage.world.random.randrange(500), node.crash)


def slower_than_timeouts(stage: Stage) -> None:
    """The round trip is longer than the first timeouts."""
    network = stage.world.network
    network.min_delay, network.max_delay = 120, stage.world.random.choice((200, 500))


def churn(stage: Stage) -> None:
    """Validators leave and return while some crash."""
    crashes(stage)
    for number in range(stage.world.random.randrange(1, 6)):
        toggle = chain.toggle_transaction(number, stage.world.random.randrange(stage.size))
        stage.at(stage.moment(), stage.nodes[number % stage.size].add_transactions, (toggle,))


def hidden_decision(stage: Stage) -> None:
    """One validator alone sees the COMMITs, decides and is cut off. The others must not decide otherwise."""
    world, victim = stage.world, stage.nodes[0]
    height = world.random.randrange(1, 4)

    def is_lost(source: int, target: int, data: bytes) -> bool:
        message = decode_message(data)
        return isinstance(message, Commit) and message.height == height and target != victim.number

    def watch() -> None:
        if len(victim.disk.chain) > height:
            world.network.is_lost = None
            world.network.isolate(victim.number, len(stage.nodes))
        else:
            stage.at(1, watch)

    world.network.is_lost = is_lost
    stage.at(1, watch)


def worst_of_all(stage: Stage) -> None:
    """A few plots at once."""
    for plot in stage.world.random.sample(HONEST_PLOTS, 3):
        plot(stage)


HONEST_PLOTS: list[Callable[[Stage], None]] = [
    random_faults,
    split_in_halves,
    rotating_isolation,
    one_way_links,
    crashes,
    power_cut_on_all,
    decided_one_isolated,
    clocks,
    slow_disk,
    many_down,
    slower_than_timeouts,
    churn,
]
KINDS = {plot.__name__: plot for plot in (*HONEST_PLOTS, hidden_decision, worst_of_all)}


# --- running one


def run_schedule(seed: int, kind: str | None = None, heights: int = 20) -> Result:
    """Run the schedule of this seed. Raises `Violation` (or whatever the engine raised) when it finds one."""
    return run_stage(prepare(seed, kind), heights)


def prepare(seed: int, kind: str | None = None) -> tuple[Stage, str]:
    """The world of a seed, its faults planted, its nodes booted."""
    dice = random.Random(seed * 7919 + 1)
    size = 7 if dice.random() < 0.1 else 4
    faulty = (size - 1) // 3
    villains: dict[int, type[Node]] = {}
    extra = 0
    if dice.random() < 0.4:
        villains = {size - 1 - i: dice.choice(VILLAINS) for i in range(faulty)}
        if dice.random() < 0.25:
            villains, extra = {}, faulty
    name = kind or dice.choice(sorted(KINDS))
    if name == "hidden_decision":
        villains, extra = {size - 1 - i: dice.choice(ATTACKERS) for i in range(faulty)}, 0
    stage = make_stage(seed, size, villains, extra)
    if name in ("churn", "worst_of_all") and (villains or extra):
        name = "random_faults"  # f villains and honest members leaving would be too many
    KINDS[name](stage)
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


def run_stage(prepared: tuple[Stage, str], heights: int) -> Result:
    """Safety phase, healing, liveness phase."""
    stage, name = prepared
    world = stage.world
    honest = [node for node in stage.nodes if node.number not in world.oracle.villains]

    def all_at(height: int) -> Callable[[], bool]:
        return lambda: min(len(node.disk.chain) for node in honest) > height

    world.run(SAFETY_MS, all_at(heights))
    heal(stage)
    first = max(len(node.disk.chain) for node in honest)
    highest_round = max(node.current_round() for node in honest if len(node.disk.chain) == first)
    target = max(first + 2, min(heights, first + 6))
    if not world.run(world.now + LIVENESS_MS, all_at(target)):
        state = [(len(node.disk.chain), node.current_round()) for node in honest]
        raise Violation(f"liveness: not all reached height {target} after healing: {state}")
    after = world.oracle.rounds[first] - highest_round
    if after > stage.faulty + 2:
        raise Violation(f"liveness: height {first} took {after} rounds from round {highest_round} on")
    return Result(world.seed, name, world.trace, world.steps, target, world.now, after)


def heal(stage: Stage) -> None:
    """The network is whole again, machines behave, who was down comes back; villains stay villains."""
    stage.is_healed = True
    stage.world.network.calm()
    for node in stage.nodes:
        node.faults.crash_in_vote = 0.0
        node.faults.sync_ms = 1
        node.faults.clock_rate = 1.0
        node.faults.restart_after_ms = 5
        if node.core is None:
            stage.world.after(5, node.boot)
