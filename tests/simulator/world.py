"""Time, network and the list of what happens next. Everything random comes from one seeded source."""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulator.node import Node
    from tests.simulator.oracle import Oracle

Event = tuple[int, int, Callable[..., None], tuple[Any, ...]]


@dataclass
class Network:
    """How messages travel. Probabilities are per message; delays are milliseconds."""

    min_delay: int = 1
    max_delay: int = 10
    loss: float = 0.0
    duplication: float = 0.0
    straggle: float = 0.0  # how often a message takes up to `straggle_delay`
    straggle_delay: int = 1500
    blocked: set[tuple[int, int]] = field(default_factory=set)  # one-way
    is_lost: Callable[[int, int, bytes], bool] | None = None  # a plot's own rule: source, target, bytes

    def calm(self) -> None:
        """Everything arrives, soon."""
        self.loss = self.duplication = self.straggle = 0.0
        self.min_delay, self.max_delay = 1, 10
        self.blocked.clear()
        self.is_lost = None

    def split(self, *groups: set[int]) -> None:
        """Nothing passes between different groups."""
        self.blocked.clear()
        for group in groups:
            for other in groups:
                if group is not other:
                    self.blocked |= {(a, b) for a in group for b in other}

    def isolate(self, node: int, size: int) -> None:
        """One node hears and is heard by nobody."""
        self.split({node}, set(range(size)) - {node})


class World:
    """The scheduler: one heap, one clock, one random source, one trace of all that happened."""

    def __init__(self, seed: int, oracle: Oracle) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.now = 0
        self.steps = 0
        self.trace = 0
        self.has_news = False  # a block was stored since `done` was last asked
        self.oracle = oracle
        self.network = Network()
        self.nodes: list[Node] = []
        self._events: list[Event] = []
        self._sequence = 0

    def after(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        """Call `action(*arguments)` in `delay` ms."""
        self._sequence += 1
        heapq.heappush(self._events, (self.now + delay, self._sequence, action, arguments))

    def send(self, source: int, target: int, data: bytes) -> None:
        """Carry bytes from one node to another, or lose them on the way."""
        network, source_random = self.network, self.random.random
        if network.blocked and (source, target) in network.blocked:
            return
        if network.is_lost is not None and network.is_lost(source, target, data):
            return
        if network.loss and source_random() < network.loss:
            return
        copies = 2 if network.duplication and source_random() < network.duplication else 1
        for _ in range(copies):
            delay = network.min_delay + int(source_random() * (network.max_delay - network.min_delay + 1))
            if network.straggle and source_random() < network.straggle:
                delay += int(source_random() * network.straggle_delay)
            self.after(delay, self._arrive, source, target, data)

    def broadcast(self, source: int, data: bytes) -> None:
        """Carry bytes to every other node: as `send` does, without asking again what goes wrong."""
        network = self.network
        if network.is_lost is not None or network.loss or network.duplication or network.straggle:
            for target in range(len(self.nodes)):
                if target != source:
                    self.send(source, target, data)
            return
        blocked, chance, arrive, first = network.blocked, self.random.random, self._arrive, network.min_delay
        spread, sequence, base = network.max_delay - first + 1, self._sequence, self.now + first
        for target in range(len(self.nodes)):
            if target != source and (source, target) not in blocked:
                sequence += 1
                event = (base + int(chance() * spread), sequence, arrive, (source, target, data))
                heapq.heappush(self._events, event)
        self._sequence = sequence

    def _arrive(self, source: int, target: int, data: bytes) -> None:
        if self.network.blocked and (source, target) in self.network.blocked:
            return
        self.nodes[target].receive(source, data)

    def can_talk(self, a: int, b: int) -> bool:
        """True when both directions are open."""
        blocked = self.network.blocked
        return not blocked or ((a, b) not in blocked and (b, a) not in blocked)

    def note(self, node: int, what: bytes) -> None:
        """Mix something that happened into the trace."""
        self.trace = zlib.crc32(what, self.trace ^ (self.now << 8 | node))

    def release(self) -> None:
        """Nothing more will happen here: let go of all nodes and events."""
        for node in self.nodes:
            node.release()
        self.nodes.clear()
        self._events.clear()

    def run(
        self, until_ms: int, done: Callable[[], bool] = lambda: False, max_steps: int = 1_000_000
    ) -> bool:
        """Let time pass until `until_ms`, or until `done()`. True when `done()` was reached."""
        events, pop = self._events, heapq.heappop
        while events and events[0][0] <= until_ms:
            self.now, _, action, arguments = pop(events)
            action(*arguments)
            if self.has_news:
                self.has_news = False
                if done():
                    return True
            if self.steps > max_steps:
                raise AssertionError(f"no end in sight after {self.steps} steps")
        self.now = max(self.now, until_ms)
        return False
