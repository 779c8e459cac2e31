"""PREPAREs and COMMITs of one height, bounded per validator, each validator counted once a round.

Kept of each validator: its PREPARE of the current round and of its highest later one; its COMMITs of the
last 16 rounds and of its highest later one. Only verified votes enter, so nobody fills another's place.
"""

from __future__ import annotations

from consensus.messages import Commit, Prepare, Seal
from primitives.limits import CONSENSUS_COMMIT_ROUNDS

Entry = tuple[bytes, bytes]  # block id, signature


class PrepareBook:
    """PREPAREs of the current round, and of each validator's highest later round."""

    __slots__ = ("_current", "_later", "_quorum", "round")

    def __init__(self, size: int, quorum: int) -> None:
        self._current: list[Entry | None] = [None] * size
        self._later: list[tuple[int, Entry] | None] = [None] * size
        self._quorum = quorum
        self.round = 0

    def enter_round(self, round: int) -> None:
        """The current round is over: what was early for the new one becomes current."""
        self.round = round
        for signer, early in enumerate(self._later):
            self._current[signer] = early[1] if early is not None and early[0] == round else None
            if early is not None and early[0] <= round:
                self._later[signer] = None

    def known(self, vote: Prepare) -> Entry | None:
        """What the author is known to have prepared in the vote's round."""
        if vote.round == self.round:
            return self._current[vote.signer]
        later = self._later[vote.signer]
        return later[1] if later is not None and later[0] == vote.round else None

    def is_useful(self, vote: Prepare) -> bool:
        """Worth a signature check: not a duplicate, and of a round that is kept."""
        if vote.round < self.round:
            return False
        known = self.known(vote)
        if known is not None:
            return known[0] != vote.block_id
        later = self._later[vote.signer]
        return vote.round == self.round or later is None or later[0] < vote.round

    def add(self, vote: Prepare) -> None:
        """Count a verified, useful vote of an author not known in its round."""
        entry = (vote.block_id, vote.signature)
        if vote.round == self.round:
            self._current[vote.signer] = entry
        else:
            self._later[vote.signer] = (vote.round, entry)

    def seals(self, block_id: bytes) -> tuple[Seal, ...]:
        """Signatures of the current round for this block, ascending by validator."""
        return tuple(
            (signer, entry[1])
            for signer, entry in enumerate(self._current)
            if entry is not None and entry[0] == block_id
        )

    def quorum_for(self, block_id: bytes) -> tuple[Seal, ...]:
        """Exactly a quorum of PREPAREs of the current round for this block, or ()."""
        seals = self.seals(block_id)
        return seals[: self._quorum] if len(seals) >= self._quorum else ()


class CommitBook:
    """COMMITs by validator and round; a quorum in any one round certifies a block."""

    __slots__ = ("_by_signer", "_quorum", "certified")

    def __init__(self, size: int, quorum: int) -> None:
        self._by_signer: list[dict[int, Entry]] = [{} for _ in range(size)]
        self._quorum = quorum
        self.certified: dict[bytes, int] = {}  # block id -> the round whose COMMITs reached the quorum

    def known(self, vote: Commit) -> Entry | None:
        """What the author is known to have committed in the vote's round."""
        return self._by_signer[vote.signer].get(vote.round)

    def is_useful(self, vote: Commit, current_round: int) -> bool:
        """Worth a signature check: not a duplicate, and of a round that is kept."""
        if vote.round <= current_round - CONSENSUS_COMMIT_ROUNDS:
            return False
        known = self.known(vote)
        if known is not None:
            return known[0] != vote.block_id
        return vote.round <= current_round or all(r < vote.round for r in self._by_signer[vote.signer])

    def add(self, vote: Commit, current_round: int) -> None:
        """Count a verified, useful vote of an author not known in its round; forget what left the window."""
        rounds = self._by_signer[vote.signer]
        rounds[vote.round] = (vote.block_id, vote.signature)
        if len(rounds) > 1:
            newest = max(rounds)
            for round in [
                r
                for r in rounds
                if r <= current_round - CONSENSUS_COMMIT_ROUNDS or current_round < r < newest
            ]:
                del rounds[round]
        if len(self.seals(vote.round, vote.block_id)) >= self._quorum:
            self.certified.setdefault(vote.block_id, vote.round)

    def seals(self, round: int, block_id: bytes) -> tuple[Seal, ...]:
        """Signatures for this block in this round, ascending by validator."""
        found: list[Seal] = []
        for signer, rounds in enumerate(self._by_signer):
            entry = rounds.get(round)
            if entry is not None and entry[0] == block_id:
                found.append((signer, entry[1]))
        return tuple(found)
