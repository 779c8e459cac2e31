"""Plays one dialogue with one real engine, and answers what must hold in it (`=` lines).

`host` carries out what the engine asks for, `words` and `crashes` are what happens to it.
"""

from __future__ import annotations

from consensus.core import QbftCore
from consensus.inputs import TimerKind, WorkAvailable
from primitives.block import block_id
from tests.scenarios.crashes import Crashes
from tests.scenarios.language import Step
from tests.scenarios.render import STEPS


class Bench(Crashes):
    """One engine, its disk and the cast around it."""

    def check(self, step: Step) -> None:
        """What a `=` line demands."""
        words = step.text.split()
        getattr(self, f"_check_{words[0]}")(words[1:])

    def _check_checks(self, words: list[str]) -> None:
        """`checks 3`: so many signatures were verified since the last time this was asked."""
        assert self.checks == int(words[0]), f"{self.checks} signatures were checked"
        self.checks = 0

    def _check_round(self, words: list[str]) -> None:
        assert self.machine().round == int(words[0]), self.machine().round

    def _check_lock(self, words: list[str]) -> None:
        lock = self.machine().lock
        found = "none" if lock is None else f"{lock.round} {self.cast.block_name(lock.block_id)}"
        assert found == " ".join(words), found

    def _check_waiting(self, words: list[str]) -> None:
        assert self.machine().is_waiting

    def _check_undecided(self, words: list[str]) -> None:
        assert self.machine().decided is None

    def _check_halted(self, words: list[str]) -> None:
        assert self.core.is_halted

    def _check_timer(self, words: list[str]) -> None:
        """`timer ROUND runs` or `timer ROUND rests`."""
        assert (TimerKind[words[0]] in self.timers) == (words[1] == "runs"), self.timers

    def _check_signed(self, words: list[str]) -> None:
        """`signed COMMIT r0 x`: that vote was signed, durable before."""
        position = (self.height, int(words[1].removeprefix("r")), STEPS.index(words[0]))
        assert position in self.signed, self.signed.keys()

    def _check_bounded(self, words: list[str]) -> None:
        """Whatever was sent, the engine keeps little of it."""
        machine, size = self.machine(), self.cast.validators.size
        commits = sum(len(rounds) for rounds in machine.ballots.commits._by_signer)
        later = sum(early is not None for early in machine.ballots.prepares._later)
        assert commits <= 17 * size
        assert later <= size
        assert len(machine.proposals.candidates) <= 17
        assert len(machine.verifier._known) <= 8192
        assert len(self.core._future) <= 256 * 4

    def _check_known(self, words: list[str]) -> None:
        """`known x`: the header's block can be named again (used to tie names over restarts)."""
        assert block_id(self.cast.block(words[0], self.height))

    def _check_nothing(self, words: list[str]) -> None:
        """`nothing before the first height`: an engine that was told no height asks for nothing."""
        untold = QbftCore(self.config)
        assert untold.step(WorkAvailable()) == []
        assert untold.observe() is None

    def _check_observed(self, words: list[str]) -> None:
        """`observed preparing r0 of A lock none asked - 1 - -`, and `prepared` if this node did so here."""
        seen = self.core.observe()
        assert seen is not None
        found = [seen.phase, f"r{seen.round}", "of", self.cast.name_of(seen.proposer)]
        found += ["lock", "none" if seen.lock_round is None else str(seen.lock_round), "asked"]
        found += ["-" if round is None else str(round) for round in seen.asked_rounds]
        found += ["prepared"] if seen.prepared_here else []
        assert (seen.height, found) == (self.height, words), found
