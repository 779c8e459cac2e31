"""Hand-written adversaries: the few schedules in which one missing rule forks the chain, chance around them.

Random search is weak at deep forks. Each hunt brings the world to the edge where one rule alone protects a
decided block, and lets attackers and timing vary from there.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus.messages import Commit, Prepare, RoundChange
from tests.simulator.stage import Stage
from tests.simulator.villains import read


def _isolate_once(stage: Stage, reached: Callable[[], bool]) -> None:
    """When `reached`, the first node is cut off for the rest of the safety phase."""

    def watch() -> None:
        if reached():
            stage.world.network.is_lost = None
            stage.world.network.isolate(0, len(stage.nodes))
        else:
            stage.at(1, watch)

    stage.at(1, watch)


def hidden_decision(stage: Stage) -> None:
    """One validator alone sees the COMMITs, decides and is cut off. The others must not decide otherwise."""
    victim, height = stage.nodes[0], stage.world.random.randrange(1, 4)

    def is_lost(source: int, target: int, data: bytes) -> bool:
        message = read(data)
        return isinstance(message, Commit) and message.height == height and target != victim.number

    stage.world.network.is_lost = is_lost
    _isolate_once(stage, lambda: len(victim.disk.chain) > height)


def hidden_lock(stage: Stage) -> None:
    """One validator alone sees the PREPAREs, locks and is cut off. The others go on without it."""
    victim, height = stage.nodes[0], stage.world.random.randrange(1, 4)

    def is_lost(source: int, target: int, data: bytes) -> bool:
        message = read(data)
        return isinstance(message, Prepare) and message.height == height and target != victim.number

    def is_locked() -> bool:
        machine = victim.core._machine if victim.core is not None else None
        return machine is not None and machine.height == height and machine.lock is not None

    stage.world.network.is_lost = is_lost
    _isolate_once(stage, is_locked)


def lock_loss_on_jump(stage: Stage) -> None:
    """A hidden decision; who stays leaves the round in every way: by timeout, by f + 1, by proposal."""
    victim, dice, height = stage.nodes[0], stage.world.random, stage.world.random.randrange(1, 4)
    for node in stage.nodes[1:]:
        node.faults.clock_rate = dice.choice((0.3, 1.0, 5.0))
    deaf = dice.randrange(1, len(stage.nodes))  # hears no ROUND_CHANGE: it moves by the proposal alone

    def is_lost(source: int, target: int, data: bytes) -> bool:
        message = read(data)
        if isinstance(message, RoundChange):
            return target == deaf and message.height == height
        return isinstance(message, Commit) and message.height == height and target != victim.number

    def watch() -> None:
        if len(victim.disk.chain) > height:
            stage.world.network.isolate(victim.number, len(stage.nodes))
        else:
            stage.at(1, watch)

    stage.world.network.is_lost = is_lost
    stage.at(1, watch)


def too_many_amnesiacs(stage: Stage) -> None:
    """f + 1 validators lose journal and watermark at once: they must fall silent, for good if need be."""
    stage.must_go_on = False

    def lose_all() -> None:
        for node in stage.nodes[: stage.faulty + 1]:
            node.crash()
            node.disk.lose_journal()
            node.disk.lose_watermark()

    hidden_decision(stage)
    stage.at(stage.moment(), lose_all)


HUNTS = [hidden_decision, hidden_lock, lock_loss_on_jump]
