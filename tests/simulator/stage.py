"""A world being prepared: its nodes, its twins and villains, and how faults are planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulator import chain
from tests.simulator.node import Node
from tests.simulator.oracle import Oracle
from tests.simulator.villains import Twin
from tests.simulator.world import World

TIMES = {
    "base_timeout_ms": 150,
    "max_timeout_ms": 2400,
    "min_block_interval_ms": 0,
    "empty_block_period_ms": 300,
    "resend_interval_ms": 60,
}
SAFETY_MS = 4000


@dataclass
class Stage:
    """A world being prepared."""

    world: World
    size: int
    nodes: list[Node]
    is_healed: bool = False
    must_go_on: bool = True  # False when more than f are lost for good: safe, but nobody can decide
    safety_ms: int = SAFETY_MS

    @property
    def faulty(self) -> int:
        """f of the first set."""
        return (self.size - 1) // 3

    @property
    def honest(self) -> list[Node]:
        """The nodes whose word counts: neither villains nor on either side of a shared key."""
        return [node for node in self.nodes if node.number not in self.world.oracle.villains]

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
