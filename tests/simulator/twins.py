"""Twins (Bano et al., OPODIS 2021): one key on two machines, every split of the network by rounds.

`run_twins` plays one assignment of partitions to the first rounds of height 1; `all_partitions` enumerates
them. With f twins no assignment may fork; with f + 1 a fork must be found (`fork_with_too_many_twins`).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from consensus.messages import Decided, decode_message
from tests.simulator.oracle import Violation
from tests.simulator.stage import Stage, make_stage
from tests.simulator.world import World

ROUNDS = 4
SPLIT_MS = 700  # the split of round r lasts until SPLIT_MS * (r + 1)
BOUND_MS = 30_000

Partition = frozenset[int]  # one side; the rest is the other


def two_sided(nodes: int) -> list[Partition]:
    """All splits of the nodes into two sides (one may be empty), node 0 always on the first."""
    others = range(1, nodes)
    return [
        frozenset({0, *chosen}) for size in range(nodes) for chosen in itertools.combinations(others, size)
    ]


def all_partitions(nodes: int, rounds: int = ROUNDS) -> Iterator[tuple[Partition, ...]]:
    """Every assignment of a split to each of the first rounds: 16^4 for five nodes."""
    return itertools.product(two_sided(nodes), repeat=rounds)


def sampled_partitions(
    nodes: int, count: int, seed: int = 1, rounds: int = ROUNDS
) -> Iterator[tuple[Partition, ...]]:
    """`count` assignments by chance, for more nodes than can be enumerated: 256^4 for nine of them."""
    dice = random.Random(seed)
    for _ in range(count):
        sides = [{0, *(node for node in range(1, nodes) if dice.random() < 0.5)} for _ in range(rounds)]
        yield tuple(map(frozenset, sides))


def prepare_twins(twins: int, plan: tuple[Partition, ...], seed: int = 1, size: int = 4) -> Stage:
    """`size` validators, the last `twins` keys on two machines each, the network split by the plan."""
    stage = make_stage(seed, size, {}, extra=twins)

    def is_lost(source: int, target: int, data: bytes) -> bool:
        message = decode_message(data)
        if isinstance(message, Decided) or message.height > 1 or message.round >= len(plan):
            return False
        if stage.world.now > SPLIT_MS * (message.round + 1):
            return False  # without a quorum a round is not left: its split must end by itself
        side = plan[message.round]
        return (source in side) != (target in side)

    stage.world.network.is_lost = is_lost
    stage.world.network.max_delay = 3
    for node in stage.nodes:
        node.boot()
    return stage


def run_twins(twins: int, plan: tuple[Partition, ...], size: int = 4) -> int:
    """Play one plan until height 1 is decided everywhere; its trace. Raises `Violation`."""
    stage = prepare_twins(twins, plan, size=size)
    world: World = stage.world
    honest = [node for node in stage.nodes if node.number not in world.oracle.villains]
    if not world.run(BOUND_MS, lambda: all(len(node.disk.chain) > 1 for node in honest)):
        raise Violation(f"liveness: twins, plan {[sorted(side) for side in plan]}")
    return world.trace


def fork_with_too_many_twins(size: int = 4) -> Violation | None:
    """f + 1 twins and one split that gives each side a quorum of keys: the fork, or None if there is none."""
    twins = (size - 1) // 3 + 1
    honest = size - twins
    first = set(range(honest // 2)) | set(range(honest, size))
    stage = make_stage(1, size, {}, extra=twins)
    stage.world.network.split(first, set(range(size + twins)) - first)
    for node in stage.nodes:
        node.boot()
    try:
        stage.world.run(BOUND_MS, lambda: all(len(node.disk.chain) > 1 for node in stage.nodes))
    except Violation as violation:
        return violation
    return None
