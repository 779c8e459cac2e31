"""Faults seeded into engine and host, each of which the simulator must find.

`apply(name)` is a context manager: inside it, production code has that one hole. The count beside each is
the number of schedules within which the search must find it (docs/consensus.md, "Simulator").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import consensus.core
import consensus.justification
import consensus.proposals
import consensus.verifier
import primitives.validators
from consensus.ballots import Ballots
from consensus.height import HeightMachine
from consensus.messages import NO_SIGNATURE, Commit
from consensus.signing import SigningGate
from tests.simulator.machine import Faults, Machine

Patch = tuple[Any, str, Any]


def _lower_quorum() -> list[Patch]:
    return [(primitives.validators, "quorum_size", lambda size: -(-2 * size // 3) - 1)]


def _no_justification() -> list[Patch]:
    return [(consensus.proposals, "proposal_fault", lambda *_: "")]


def _duplicate_authors() -> list[Patch]:
    def unordered(proposal: Any, verifier: Any) -> str:
        enough = len(proposal.round_changes) >= verifier.validators.quorum
        signed = all(
            consensus.justification._is_signed(c, proposal, verifier) for c in proposal.round_changes
        )
        return "" if enough and signed else "no quorum"

    return [
        (consensus.verifier, "ascending", lambda seals: True),
        (consensus.justification, "_round_changes_fault", unordered),
    ]


def _lock_lost_on_jump() -> list[Patch]:
    enter_round = HeightMachine.enter_round

    def forgetful(self: HeightMachine, round: int) -> None:
        enter_round(self, round)
        self.lock = None

    return [(HeightMachine, "enter_round", forgetful)]


def _late_vote() -> list[Patch]:
    on_prepare, request = Ballots.on_prepare, SigningGate.request
    change_to_round = HeightMachine.change_to_round

    def late(self: Ballots, peer: Any, message: Any) -> None:
        machine = self._machine
        left = getattr(machine, "_left", {})
        on_prepare(self, peer, message)
        own = machine.setting.own_index
        if message.round in left and message.round < machine.round and own is not None:
            block, voters = left[message.round]
            voters.add(message.signer)
            if message.block_id == block and len(voters) == machine.verifier.validators.quorum:
                machine.request(Commit(machine.height, message.round, own, NO_SIGNATURE, block))

    def remember(self: HeightMachine, round: int) -> None:
        left = self.__dict__.setdefault("_left", {})
        if self.proposals.block_id:
            voters = {signer for signer, _ in self.ballots.prepares.seals(self.proposals.block_id)}
            left[self.round] = (self.proposals.block_id, voters)
        change_to_round(self, round)

    def careless(self: SigningGate, message: Any, *rest: Any) -> bool:
        if isinstance(message, Commit):
            self._floor = (0, 0, 0)
        return request(self, message, *rest)

    return [
        (Ballots, "on_prepare", late),
        (HeightMachine, "change_to_round", remember),
        (SigningGate, "request", careless),
        (Machine, "refuses_regression", False),
    ]


def _timer_without_quorum() -> list[Patch]:
    def hasty(self: HeightMachine) -> None:
        self._start_round_timer()

    return [(HeightMachine, "start_timer_at_quorum", hasty)]


def _no_round_timer() -> list[Patch]:
    return [(HeightMachine, "_start_round_timer", lambda self: None)]


def _seals_unchecked() -> list[Patch]:
    return [(consensus.core, "is_certified", lambda *_: True)]


def _host(**flags: bool) -> Callable[[], list[Patch]]:
    def patches() -> list[Patch]:
        create = Faults.__init__

        def create_faulty(self: Faults, *args: Any, **kwargs: Any) -> None:
            create(self, *args, **(kwargs | flags))

        return [(Faults, "__init__", create_faulty)]

    return patches


@dataclass(frozen=True)
class Mutant:
    """How to make it, within how many schedules it must be found, and of which kinds (none: all in turn)."""

    make: Callable[[], list[Patch]]
    within: int
    kinds: tuple[str, ...] = ()


_LOCK_HUNTS = ("lock_loss_on_jump", "hidden_decision", "hidden_lock")

MUTANTS: dict[str, Mutant] = {
    "quorum minus one": Mutant(_lower_quorum, 5),
    "justification unchecked": Mutant(_no_justification, 100, _LOCK_HUNTS),
    "duplicate authors accepted": Mutant(_duplicate_authors, 100, _LOCK_HUNTS),
    "lock lost on a jump": Mutant(_lock_lost_on_jump, 100, _LOCK_HUNTS),
    "vote cast late in a left round": Mutant(
        _late_vote, 50, ("random_faults", "slower_than_timeouts", "clocks")
    ),
    "round timers without a quorum": Mutant(_timer_without_quorum, 300),
    "round timers forgotten": Mutant(_no_round_timer, 5),
    "seals unchecked in sync": Mutant(_seals_unchecked, 200),
    "journal not synced": Mutant(_host(has_journal_sync=False), 5),
    "watermark ignored": Mutant(_host(has_watermark=False), 5),
    "watermark not brought up after a restart": Mutant(
        _host(levels_watermark=False), 50, ("crashes", "journals_lost")
    ),
}


@contextmanager
def apply(name: str) -> Iterator[None]:
    """Production code with one hole."""
    patches = MUTANTS[name].make()
    originals = [(target, attribute, getattr(target, attribute)) for target, attribute, _ in patches]
    for target, attribute, value in patches:
        setattr(target, attribute, value)
    try:
        yield
    finally:
        for target, attribute, value in originals:
            setattr(target, attribute, value)
