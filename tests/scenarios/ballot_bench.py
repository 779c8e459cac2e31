"""Plays a dialogue about the validator set with the ledger's own rules: votes, and who proposes next."""

from __future__ import annotations

from ledger.proposers import proposer_order
from ledger.state import CANDIDATE, VALIDATORS, StateView
from ledger.votes import (
    VOTE_ADD,
    VOTE_REMOVE,
    VOTE_WITHDRAW,
    apply_votes,
    cast_vote,
    pending_votes,
    validators_value,
)
from primitives.errors import InvalidTransaction
from primitives.keys import PublicKey
from primitives.validators import ValidatorSet
from tests.scenarios.language import Scenario, Step

OPERATIONS = {"add": VOTE_ADD, "remove": VOTE_REMOVE, "withdraw": VOTE_WITHDRAW}


class BallotBench:
    """The state map of votes and the set; letters are keys, ascending."""

    def __init__(self, scenario: Scenario) -> None:
        members = scenario.settings["members"]
        self.least = int(scenario.settings.get("least", "3"))
        self.validators = ValidatorSet(0, tuple(PublicKey(_key(name)) for name in members))
        entries = {CANDIDATE + _key(name): b"\x90" for name in scenario.settings.get("candidates", "")}
        entries[VALIDATORS] = validators_value(self.validators)
        self.view = StateView(entries)

    def play(self, step: Step) -> list[str]:
        """Carry out a `>` line and say what it changed."""
        words = step.text.split()
        if words[0] == "vote":  # vote A remove E until 5 at 3
            return self._vote(words)
        if words[0] == "end":  # end of block 3
            return self._end_of_block(int(words[-1]))
        order = proposer_order(self.validators, {}, _key(words[2]), 2)  # order after B
        return ["order " + "".join(map(_name, order))]

    def check(self, step: Step) -> None:
        """`set ABCD`."""
        assert step.text == "set " + "".join(map(_name, self.validators.keys))

    def _vote(self, words: list[str]) -> list[str]:
        _, voter, operation, subject, _, expires, _, height = words
        try:
            cast_vote(
                self.view,
                self.validators,
                _key(voter),
                _key(subject),
                OPERATIONS[operation],
                int(expires),
                int(height),
            )
        except InvalidTransaction as refusal:
            return [f"refused {refusal.code}"]
        return []

    def _end_of_block(self, height: int) -> list[str]:
        after = apply_votes(self.view, self.validators, height, self.least)
        lines = [] if after == self.validators else ["set " + "".join(map(_name, after.keys))]
        self.validators = after
        return [*lines, f"standing {len(pending_votes(self.view))}"]


def _key(name: str) -> bytes:
    return name.encode() * 32


def _name(key: bytes) -> str:
    return chr(key[0])
