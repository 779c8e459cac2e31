"""A node that remembers (warm store, shared facts, short ways) and one that looks everything up anew, side by
side over random histories: the same answers at the pool, the same blocks to the byte, the same pages.

What a running node does between blocks is done to the remembering one alone: builds given up half way and run
on when the next block is there, trials on a view that outlives its tip, candidates that lose, restarts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import given, settings

from drexnode.pool_gate import Entered
from ledger.apply import apply_transaction
from ledger.block import Block
from ledger.checks import check_stateless, verify_signatures
from ledger.execute import BuiltBlock, ExecutedBlock, execute_block
from ledger.slices import Slices, finish
from ledger.state import StateView
from ledger.transaction import Transaction
from primitives.errors import DrexError, InvalidTransaction
from primitives.keys import verify_many
from tests.drexnode.two_nodes import Cold, Warm, the_general_way
from tests.ledger.schemer import CATEGORIES, OTHERS, PLAIN, Schemer
from tests.ledger.test_invariants import play, seeds, start
from tests.ledger.world import BRL, DVT_A, DVT_B, FREE, World

NONSENSE = (DrexError, OverflowError)  # what reading two tips at once may raise


def well_formed(transaction: Transaction) -> bool:
    """What admission has checked before the gate."""
    try:
        check_stateless(transaction)
        verify_signatures(transaction, verify_many)
    except InvalidTransaction:
        return False
    return True


def answers(entered: Entered) -> tuple[list[bytes], list[tuple[bytes, str]]]:
    return [each.txid for each in entered.added], [(wtxid, error.code) for wtxid, error in entered.refused]


def refusals(built: BuiltBlock) -> list[tuple[bytes, str]]:
    return [(refused.transaction.txid, refused.error.code) for refused in built.refused]


def same(left: ExecutedBlock, right: ExecutedBlock) -> bool:
    return (
        left.block.header == right.block.header
        and left.delta.changes == right.delta.changes
        and dict(left.patch.page_writes()) == dict(right.patch.page_writes())
        and left.next_validators == right.next_validators
    )


class History:
    """Both nodes, and what disturbs the warm one."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = Random(seed)
        self.world: World = start()
        for name, asset in (("alice", FREE), ("bank-a-cash", BRL), ("ana", DVT_A), ("bob", DVT_B)):
            self.world.fund(name, asset, 100)
        self.player = Schemer(self.world, self.random)
        self.cold = Cold(self.world.state.entries)
        self.warm = Warm(folder, self.cold.genesis, self.random)
        self.halves: list[Slices[BuiltBlock]] = []
        self.trials: list[StateView] = []
        self.accepted = 0

    def attempts(self, count: int) -> list[Transaction]:
        """Each made on what those before it left, so that they build on one another."""
        self.world.height, self.world.validators = self.cold.head.height + 1, self.cold.validators
        self.world.timestamp_ms = self.cold.now_ms
        made: list[Transaction] = []
        everything = self.random.random() < 0.4
        self.player.categories = CATEGORIES if everything else (self.random.choice(CATEGORIES),)
        with the_general_way():
            for _ in range(count):
                attempt = self.player.attempt((*PLAIN, *OTHERS) if everything else PLAIN)
                if well_formed(attempt):
                    made.append(attempt)
                    with suppress(InvalidTransaction):
                        self.world.apply(attempt)
        return made

    def play_block(self) -> None:
        wave = self.attempts(self.random.randint(6, 14))
        self.enter(wave)
        self.disturb(wave)
        chosen = list(self.cold.gate.candidates())
        assert list(self.warm.gate.candidates()) == chosen
        if self.random.random() < 0.5:  # refused ones, and an order that the pool did not choose
            chosen += wave
        built = self.build(chosen)
        other = self.build(self.random.sample(chosen, len(chosen) // 2))
        decided = self.random.choice((built, built, other))
        for node in (self.cold, self.warm):
            for refused in built.refused:
                node.gate.refuse(refused.transaction, refused.error)
        executed = self.execute(decided.executed.block)
        self.accepted += len(decided.executed.block.transactions)
        self.cold.commit(executed)
        self.warm.commit(self.random.choice((decided.executed, executed)))
        self.run_on(wave)
        with the_general_way():
            left = self.cold.leave(executed)
        assert self.warm.leave(executed) == left
        self.recheck()
        self.world.state.entries = dict(self.cold.entries.entries)
        if self.random.random() < 0.15:
            self.warm.restart()

    def enter(self, wave: Sequence[Transaction]) -> None:
        with the_general_way():
            expected = answers(self.cold.gate.enter(wave))
        assert answers(self.warm.gate.enter(wave)) == expected
        assert self.warm.pool.usage() == self.cold.pool.usage()

    def recheck(self) -> None:
        waiting = list(self.cold.gate.candidates())
        with the_general_way():
            expected = [(gone.txid, gone.code) for gone in self.cold.gate.recheck(waiting)]
        assert [(gone.txid, gone.code) for gone in self.warm.gate.recheck(waiting)] == expected
        assert len(self.warm.pool) == len(self.cold.pool)

    def build(self, candidates: Sequence[Transaction]) -> BuiltBlock:
        proposer = self.random.choice(self.cold.validators.keys)
        with the_general_way():
            expected = finish(self.cold.build(candidates, proposer))
        built = finish(self.warm.build(candidates, proposer))
        assert refusals(built) == refusals(expected)
        assert same(built.executed, expected.executed)
        return built

    def execute(self, block: Block) -> ExecutedBlock:
        cold, warm = self.cold, self.warm
        with the_general_way():
            expected = finish(execute_block(cold.state, cold.tree, cold.context, block))
        executed = finish(execute_block(warm.state, warm.tree, warm.context, block))
        assert same(executed, expected)
        return executed

    def disturb(self, wave: Sequence[Transaction]) -> None:
        """Builds that stop after some slices, and a view to try things on."""
        half = self.warm.build(
            self.random.sample(wave, len(wave)), self.random.choice(self.warm.validators.keys)
        )
        for _ in range(self.random.randint(0, 4)):
            next(half, None)
        self.halves.append(half)
        self.trials.append(StateView(self.warm.state))
        self.try_on(wave)

    def run_on(self, wave: Sequence[Transaction]) -> None:
        """The halves and trials of earlier tips go on, on a state that they were not meant for."""
        for half in self.halves:
            with suppress(*NONSENSE):
                next(half, None)
        self.try_on(wave)
        del self.halves[:-2], self.trials[:-2]

    def try_on(self, wave: Sequence[Transaction]) -> None:
        at = self.warm.context.at(self.warm.now_ms)
        for view in self.trials:
            for transaction in self.random.choice((wave, self.random.sample(wave, len(wave) // 2))):
                with suppress(*NONSENSE):
                    apply_transaction(view, transaction, at)


@settings(play, max_examples=12)
@given(seeds)
def test_what_a_node_remembers_changes_no_answer_and_no_block(seed: int) -> None:
    with TemporaryDirectory() as folder:
        history = History(seed, Path(folder) / "chain")
        for _ in range(8):
            history.play_block()
        history.warm.store.close()
