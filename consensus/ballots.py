"""PREPAREs and COMMITs of one height: the lock at a quorum of the first, the decision at one of the second.

The lock is taken in the current round only, for a block that is held and executed, and is durable (block,
then record with header and certificate) before the COMMIT leaves. COMMITs of a past round still decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consensus.effects import BodySource, RequestSync, StoreBlock
from consensus.inputs import PeerId
from consensus.messages import NO_SIGNATURE, Commit, Prepare, PreparedCertificate, prepare_sighash
from consensus.proposals import SELF
from consensus.votes import CommitBook, PrepareBook
from primitives.block import BlockHeader
from primitives.certificate import CERTIFICATE_VERSION, STEP_COMMIT, CommitCertificate, commit_sighash

if TYPE_CHECKING:
    from consensus.height import HeightMachine


class Ballots:
    """The votes of one height."""

    __slots__ = ("_machine", "commits", "prepares")

    def __init__(self, machine: HeightMachine) -> None:
        validators = machine.verifier.validators
        self._machine = machine
        self.prepares = PrepareBook(validators.size, validators.quorum)
        self.commits = CommitBook(validators.size, validators.quorum)

    def on_prepare(self, peer: PeerId, message: Prepare) -> None:
        """A PREPARE of this height, signature not yet checked."""
        machine = self._machine
        if not self.prepares.is_useful(message):
            return
        sighash = prepare_sighash(machine.verifier.domain, machine.height, message.round, message.block_id)
        if not machine.is_signed(peer, message, sighash):
            return
        if (first := self.prepares.known(message)) is not None:
            machine.found_two(message, first, (message.block_id, message.signature))
            return
        self.prepares.add(message)
        proposals = machine.proposals
        if message.round == machine.round and message.block_id == proposals.block_id:
            if proposals.validation_ref is not None and peer != SELF:
                machine.outbox.emit(BodySource(proposals.validation_ref, peer))
            self.commit_at_prepare_quorum()

    def commit_at_prepare_quorum(self) -> None:
        """A quorum of PREPAREs in the current round for a block we hold: lock on it, then COMMIT."""
        machine = self._machine
        block, own = machine.proposals.block_id, machine.setting.own_index
        candidate = machine.proposals.candidates.get(block)
        if candidate is None or not candidate.is_valid or own is None:
            return
        if not machine.gate.allows(machine.height, machine.round, STEP_COMMIT):
            return
        prepares = self.prepares.quorum_for(block)
        if not prepares:
            return
        machine.outbox.emit_durable(StoreBlock(candidate.header, candidate.wtxids))
        machine.lock = PreparedCertificate(machine.round, block, candidate.header, prepares)
        machine.request(Commit(machine.height, machine.round, own, NO_SIGNATURE, block))

    def on_commit(self, peer: PeerId, message: Commit) -> None:
        """A COMMIT of this height, signature not yet checked."""
        machine = self._machine
        if not self.commits.is_useful(message, machine.round):
            return
        sighash = commit_sighash(machine.verifier.domain, machine.height, message.round, message.block_id)
        if not machine.is_signed(peer, message, sighash):
            return
        if (first := self.commits.known(message)) is not None:
            machine.found_two(message, first, (message.block_id, message.signature))
            return
        self.commits.add(message, machine.round)
        if message.block_id not in self.commits.certified:
            return
        if self._header_of(message.block_id) is not None:
            self.decide_certified(message.block_id)
        elif peer != SELF:
            machine.outbox.emit(RequestSync(machine.height + 1, peer))

    def _header_of(self, block: bytes) -> BlockHeader | None:
        candidate = self._machine.proposals.candidates.get(block)
        return candidate.header if candidate is not None else self._machine.round_changes.header_of(block)

    def decide_certified(self, block: bytes) -> None:
        """A quorum of COMMITs for a block whose header is known."""
        round = self.commits.certified[block]
        header = self._header_of(block)
        assert header is not None
        seals = self.commits.seals(round, block)
        certificate = CommitCertificate(CERTIFICATE_VERSION, self._machine.height, round, block, seals)
        self._machine.decide(header, certificate)
