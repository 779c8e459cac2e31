"""Where the height being decided stands, for people and metrics. Reading it changes nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from primitives.certificate import STEP_PREPARE

if TYPE_CHECKING:
    from consensus.height import HeightMachine


class Phase(StrEnum):
    """What the engine waits for."""

    WAITING = "waiting"  # round 0, nothing to propose
    PROPOSING = "proposing"  # a proposal for the round
    PREPARING = "preparing"  # a quorum of PREPAREs
    COMMITTING = "committing"  # a quorum of COMMITs
    CHANGING_ROUND = "changing_round"  # a round above 0, no proposal yet
    DECIDED = "decided"  # the host makes the block final


class Observation(msgspec.Struct, frozen=True, gc=False):
    """One moment of a height. `proposer` is the key whose turn the round is; `lock_round` is that of the
    lock, None without one; `asked_rounds[i]` is the highest round that validator i asked for, None for none.
    """

    height: int
    round: int
    phase: Phase
    proposer: bytes
    lock_round: int | None
    asked_rounds: tuple[int | None, ...]
    prepared_here: bool


def observe(machine: HeightMachine) -> Observation:
    """The moment of `machine`."""
    validators = machine.verifier.validators
    prepared = machine.own_messages.get(STEP_PREPARE)
    return Observation(
        height=machine.height,
        round=machine.round,
        phase=_phase(machine),
        proposer=validators.keys[machine.proposer_of(machine.round)],
        lock_round=None if machine.lock is None else machine.lock.round,
        asked_rounds=tuple(
            None if change is None else change.round
            for change in map(machine.round_changes.known, range(validators.size))
        ),
        prepared_here=prepared is not None and prepared[0] == machine.round,
    )


def _phase(machine: HeightMachine) -> Phase:
    if machine.decided is not None:
        return Phase.DECIDED
    if machine.is_waiting:
        return Phase.WAITING
    if machine.proposals.accepted is None:
        return Phase.PROPOSING if machine.round == 0 else Phase.CHANGING_ROUND
    is_locked_here = machine.lock is not None and machine.lock.round == machine.round
    return Phase.COMMITTING if is_locked_here else Phase.PREPARING
