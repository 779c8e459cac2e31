"""Plays a dialogue with a whole cluster: four real engines with their hosts in the simulator's world."""

from __future__ import annotations

from collections.abc import Callable

from consensus.messages import Proposal, decode_message
from tests.scenarios.language import Scenario, Step
from tests.simulator import chain, villains
from tests.simulator.node import Node
from tests.simulator.stage import Stage, make_stage

BOUND_MS = 60_000


class ClusterBench:
    """Nodes A to D (0 to 3); A proposes height 1."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.bodies: list[bytes] = []
        self.healed_at = 0
        self.stage = self._make()

    def _make(self) -> Stage:
        cast: dict[int, type[Node]] = {}
        words = self.scenario.settings.get("villains", "").split()
        for name, kind in zip(words[::2], words[1::2], strict=True):
            cast[self._number(name)] = getattr(villains, kind)
        stage = make_stage(int(self.scenario.settings.get("seed", "1")), 4, cast)
        for node in stage.nodes:
            node.boot()
        return stage

    @staticmethod
    def _number(name: str) -> int:
        return ord(name) - ord("A")

    @property
    def honest(self) -> list[Node]:
        """The nodes whose word counts."""
        return [node for node in self.stage.nodes if node.number not in self.stage.world.oracle.villains]

    def play(self, step: Step) -> list[str]:
        """Carry out a `>` line; a cluster answers by what is then true (`=`)."""
        words = step.text.split()
        handler: Callable[[list[str]], None] = getattr(self, f"_play_{words[0]}")
        handler(words[1:])
        return []

    def check(self, step: Step) -> None:
        """What a `=` line demands."""
        words = step.text.split()
        getattr(self, f"_check_{words[0]}")(words[1:])

    def _play_transaction(self, words: list[str]) -> None:
        """`transaction to B C D`: a new one, in these pools."""
        self.bodies.append(chain.plain_transaction(len(self.bodies)))
        for name in words[1:]:
            self.stage.nodes[self._number(name)].add_transaction(self.bodies[-1])

    def _play_run(self, words: list[str]) -> None:
        """`run until height 3`, `run until round 6` (someone's), `run for 500 ms`."""
        world = self.stage.world
        if words[0] == "for":
            world.run(world.now + int(words[1]))
            return
        goal = int(words[2])

        def is_reached() -> bool:
            world.has_news = True
            if words[1] == "height":
                return min(len(node.disk.chain) for node in self.honest) > goal
            return min(node.current_round() for node in self.honest) >= goal

        world.has_news = True
        assert world.run(world.now + BOUND_MS, is_reached), [
            (len(node.disk.chain), node.current_round()) for node in self.stage.nodes
        ]

    def _play_lose(self, words: list[str]) -> None:
        """`lose proposals`, `lose proposals but to C`, `lose nothing`."""
        spared = {self._number(name) for name in words[words.index("to") + 1 :]} if "to" in words else set()

        def is_lost(source: int, target: int, data: bytes) -> bool:
            return target not in spared and isinstance(decode_message(data), Proposal)

        self.stage.world.network.is_lost = None if words == ["nothing"] else is_lost
        self.healed_at = max(node.current_round() for node in self.honest)

    def _play_power(self, words: list[str]) -> None:
        """`power cut on all at every step until height 2, then height 4`: a new cluster for each step."""
        first, last = int(words[-4].rstrip(",")), int(words[-1])
        cut_at = 1
        while True:
            self.stage = self._make()
            nodes, world = self.stage.nodes, self.stage.world
            for node in nodes:
                node.add_transaction(chain.plain_transaction(7))
                node.faults.restart_after_ms = 5

            def is_time(limit: int = cut_at) -> bool:
                self.stage.world.has_news = True
                return self.stage.world.steps >= limit

            world.has_news = True
            world.run(world.now + BOUND_MS, is_time)
            if min(len(node.disk.chain) for node in nodes) > first:
                assert cut_at > 50
                return
            for node in nodes:
                node.crash()
            self._play_run(["until", "height", str(last)])
            cut_at += 1

    def _check_height(self, words: list[str]) -> None:
        """`height 1 decided in round 1 by B [with the transaction]`."""
        height = int(words[0])
        for node in self.honest:
            header, wtxids, certificate = node.disk.chain[height]
            assert certificate is not None
            assert certificate.round == int(words[4])
            assert header.proposer == chain.public_key(self._number(words[6]))
            assert "with" not in words or self.bodies[-1] in wtxids

    def _check_met(self, words: list[str]) -> None:
        """`met within 3 rounds at height 1`: the decision came that soon after the network healed."""
        for node in self.honest:
            certificate = node.disk.chain[int(words[-1])][2]
            assert certificate is not None
            assert certificate.round <= self.healed_at + int(words[1])

    def _check_same(self, words: list[str]) -> None:
        """`same blocks everywhere`: the oracle has watched, and nobody is left behind."""
        assert len({node.disk.chain[2][0] for node in self.honest}) == 1
