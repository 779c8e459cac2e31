"""PROPOSALs of one height: which one is accepted, what the host says of its block, and the PREPARE it earns.

A proposal is accepted when it comes from its round's proposer, is signed, follows the parent and is
justified; a justified one of a future round moves the height there. One is accepted a round; a second,
different one is evidence. A PREPARE follows only once the host holds and has executed every body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consensus.effects import ValidateProposal
from consensus.inputs import Outcome, PeerId, TimerKind, Verdict
from consensus.justification import is_fresh, proof_of, proposal_fault
from consensus.messages import NO_SIGNATURE, Prepare, Proposal, proposal_sighash
from primitives.block import BlockHeader, block_id
from primitives.limits import CONSENSUS_COMMIT_ROUNDS

if TYPE_CHECKING:
    from consensus.height import HeightMachine

# The name under which the engine delivers its own messages to itself.
SELF = PeerId("")


class Candidate:
    """A block of this height whose header is known."""

    __slots__ = ("header", "is_valid", "wtxids")

    def __init__(self, header: BlockHeader, wtxids: tuple[bytes, ...], is_valid: bool) -> None:
        self.header = header
        self.wtxids = wtxids
        self.is_valid = is_valid  # the host holds all bodies and executed them


class Proposals:
    """The accepted proposal of the current round, and the blocks known at this height (bounded)."""

    __slots__ = ("_machine", "_peer", "accepted", "block_id", "candidates", "validation_ref")

    def __init__(self, machine: HeightMachine) -> None:
        self._machine = machine
        self._peer = SELF
        self.accepted: Proposal | None = None
        self.block_id = b""
        self.candidates: dict[bytes, Candidate] = {}
        self.validation_ref: int | None = None

    def enter_round(self) -> None:
        """Nothing is proposed yet in the new round."""
        self.accepted = None
        self.block_id = b""
        self.validation_ref = None

    def on_message(self, peer: PeerId, message: Proposal) -> None:
        """A PROPOSAL of this height, signature not yet checked."""
        machine = self._machine
        proposed_id = block_id(message.header)
        if proposed_id in machine.ballots.commits.certified:
            self.add_candidate(proposed_id, message.header, message.wtxids, is_valid=False)
            machine.ballots.decide_certified(proposed_id)
            return
        if message.round < machine.round:
            return
        if machine.proposer_of(message.round) != message.signer:
            machine.outbox.reject(peer, "NOT_PROPOSER", f"round {message.round}")
            return
        first = self.accepted if message.round == machine.round else None
        if first is not None and proposed_id == self.block_id:
            return
        sighash = proposal_sighash(machine.verifier.domain, machine.height, message.round, proposed_id)
        if not machine.is_signed(peer, message, sighash):
            return
        if first is not None:
            signed_first = (self.block_id, first.signature)
            machine.found_two(message, signed_first, (proposed_id, message.signature))
        elif fault := self.header_fault(message.header, message.wtxids):
            machine.outbox.reject(peer, "INVALID_BLOCK", fault)
        elif fault := proposal_fault(message, proposed_id, machine.verifier):
            machine.outbox.reject(peer, "BAD_JUSTIFICATION", fault)
        else:
            self._accept(peer, message, proposed_id)

    def header_fault(self, header: BlockHeader, wtxids: tuple[bytes, ...]) -> str:
        """Why a header can't follow the parent here, or ""; what needs bodies or a clock is the host's."""
        machine = self._machine
        if header.height != machine.height or header.parent_id != machine.setting.parent_id:
            return "the header does not follow the parent"
        if header.validators_hash != machine.verifier.validators.hash:
            return "the header names another validator set"
        if header.timestamp_ms <= machine.setting.parent.timestamp_ms:
            return "the timestamp is not above the parent's"
        if header.proposer not in machine.verifier.validators:
            return "the header's proposer is no validator"
        if header.tx_count != len(wtxids):
            return "the number of transactions is not the header's"
        return ""

    def _accept(self, peer: PeerId, message: Proposal, proposed_id: bytes) -> None:
        machine = self._machine
        if message.round > machine.round:
            machine.enter_round(message.round)
        self.accepted = message
        self.block_id = proposed_id
        self._peer = peer
        machine.on_proposal_accepted()
        machine.rounds.learn_lock(proof_of(message, proposed_id))
        candidate = self.add_candidate(proposed_id, message.header, message.wtxids, is_valid=False)
        if candidate.is_valid:
            self._vote()
        else:
            self.validate()

    def add_candidate(
        self, block: bytes, header: BlockHeader, wtxids: tuple[bytes, ...], is_valid: bool
    ) -> Candidate:
        """Know a block. Its list is a claim until the block is valid; the oldest known go first."""
        candidate = self.candidates.get(block)
        if candidate is None:
            if len(self.candidates) >= CONSENSUS_COMMIT_ROUNDS:
                lock = self._machine.lock
                spared = (self.block_id, b"" if lock is None else lock.block_id)
                del self.candidates[next(known for known in self.candidates if known not in spared)]
            candidate = self.candidates[block] = Candidate(header, wtxids, is_valid)
        elif not candidate.is_valid:
            candidate.wtxids, candidate.is_valid = wtxids, is_valid
        return candidate

    def validate(self) -> None:
        """Have the host get the bodies and execute the accepted block."""
        machine, proposal = self._machine, self.accepted
        assert proposal is not None
        self.validation_ref = machine.take_ref()
        machine.outbox.emit(
            ValidateProposal(
                ref=self.validation_ref,
                height=machine.height,
                round=machine.round,
                header=proposal.header,
                wtxids=proposal.wtxids,
                sources=self._body_sources(proposal),
                fresh=is_fresh(proposal),
            )
        )

    def _body_sources(self, proposal: Proposal) -> tuple[PeerId, ...]:
        """The proposer, then who was seen to PREPARE is added later, then who carries the lock."""
        sources = [self._peer]
        proof = proof_of(proposal, self.block_id)
        if proof is not None:
            sources += self._machine.round_changes.sources((proof.round, proof.block_id))
        return tuple(peer for peer in dict.fromkeys(sources) if peer != SELF)

    def on_verdict(self, verdict: Verdict) -> None:
        """The host has checked the proposal of the current round (other answers come too late)."""
        machine = self._machine
        if verdict.ref != self.validation_ref:
            return
        self.validation_ref = None
        match verdict.outcome:
            case Outcome.OK:
                self.candidates[self.block_id].is_valid = True
                self._vote()
            case Outcome.LATER:
                machine.start_timer(TimerKind.REVALIDATE, verdict.retry_in_ms)
            case Outcome.WRONG_LIST:
                machine.outbox.reject(self._peer, "WRONG_LIST", verdict.reason)
                del self.candidates[self.block_id]
                self.enter_round()  # an honest copy of the proposal may still come
            case Outcome.INVALID:
                machine.outbox.reject(self._peer, "INVALID_BLOCK", verdict.reason)
            case _:
                pass  # the bodies are not to be had: the round timer ends it

    def _vote(self) -> None:
        machine = self._machine
        own = machine.setting.own_index
        if own is not None:
            machine.request(Prepare(machine.height, machine.round, own, NO_SIGNATURE, self.block_id))
        machine.ballots.commit_at_prepare_quorum()
