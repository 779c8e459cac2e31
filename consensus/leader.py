"""The leader's side of a round: which block to propose, and with what justification.

Round 0: a fresh block as soon as the wait is over. Above it: once ROUND_CHANGEs of a quorum justify
something, the highest proven block again (fetched if its list is not at hand; left out if it can't be got
and a quorum remains), otherwise a fresh block, at once and empty if need be. One proposal a round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consensus.effects import BuildBlock, FetchBlock
from consensus.inputs import BlockBuilt, BlockFetched, PeerId
from consensus.justification import justifiable_subsets
from consensus.messages import (
    NO_SIGNATURE,
    PreparedCertificate,
    Proposal,
    RoundChange,
    SignedRoundChange,
)
from primitives.block import BlockHeader, block_id
from primitives.certificate import STEP_PROPOSAL

if TYPE_CHECKING:
    from consensus.height import HeightMachine

Subset = tuple[list[RoundChange], PreparedCertificate | None]


class Leader:
    """What the leader of the current round has under way."""

    __slots__ = ("_building", "_fetch", "_machine", "_unavailable")

    def __init__(self, machine: HeightMachine) -> None:
        self._machine = machine
        self._building: list[RoundChange] | None = None  # justification of the block being built
        self._fetch: tuple[int, Subset] | None = None
        # Claims whose block could not be got, with the number of sources that were asked.
        self._unavailable: dict[tuple[int, bytes], int] = {}

    def enter_round(self) -> None:
        """What was under way for an earlier round is no longer wanted."""
        self._building = None
        self._fetch = None
        self._unavailable.clear()

    def try_to_lead(self) -> None:
        """Propose if it is our turn, nothing is proposed or under way yet, and something is justified."""
        machine = self._machine
        if machine.is_waiting or machine.proposals.accepted is not None:
            return
        if machine.proposer_of(machine.round) != machine.setting.own_index:
            return
        if self._building is not None or self._fetch is not None:
            return
        if not machine.gate.allows(machine.height, machine.round, STEP_PROPOSAL):
            return
        if machine.round == 0:
            self._build([])
        elif (subset := self._best_subset()) is not None:
            self._pursue(subset)

    def _best_subset(self) -> Subset | None:
        machine = self._machine
        changes = machine.round_changes.of_round(machine.round)
        quorum = machine.verifier.validators.quorum
        for subset in justifiable_subsets(changes, quorum):
            proof = subset[1]
            if proof is None:
                return subset
            claim = (proof.round, proof.block_id)
            if self._unavailable.get(claim, -1) < len(machine.round_changes.sources(claim)):
                return subset
        return None

    def _pursue(self, subset: Subset) -> None:
        machine = self._machine
        changes, proof = subset
        if proof is None:
            self._build(changes)
            return
        candidate = machine.proposals.candidates.get(proof.block_id)
        if candidate is not None and candidate.is_valid:
            self._propose(candidate.header, candidate.wtxids, changes, proof)
            return
        assert proof.header is not None
        ref = machine.take_ref()
        self._fetch = (ref, subset)
        sources = machine.round_changes.sources((proof.round, proof.block_id))
        others = tuple(peer for peer in sources if peer)
        machine.outbox.emit(FetchBlock(ref, proof.header, others))

    def _build(self, changes: list[RoundChange]) -> None:
        machine = self._machine
        self._building = changes
        machine.outbox.emit(BuildBlock(machine.height, machine.round, machine.setting.parent_id))

    def on_built(self, built: BlockBuilt) -> None:
        """A fresh block is ready; one for a round that was left, or that nobody waits for, is not used."""
        machine = self._machine
        changes = self._building
        if changes is None or (built.height, built.round) != (machine.height, machine.round):
            return
        self._building = None
        if machine.proposals.accepted is not None:
            return
        fault = machine.proposals.header_fault(built.header, built.wtxids)
        if not fault and machine.setting.own_index != machine.verifier.validators.index_of(
            built.header.proposer
        ):
            fault = "the block names another proposer"
        if fault:
            machine.outbox.reject(PeerId(""), "OWN_BLOCK_INVALID", fault)
            return
        machine.proposals.add_candidate(block_id(built.header), built.header, built.wtxids, is_valid=True)
        self._propose(built.header, built.wtxids, changes, None)

    def on_fetched(self, fetched: BlockFetched) -> None:
        """The block to repeat was got, or nobody had it: then the next best justification is tried."""
        if self._fetch is None or self._fetch[0] != fetched.ref:
            return
        changes, proof = self._fetch[1]
        self._fetch = None
        machine = self._machine
        assert proof is not None
        assert proof.header is not None
        if fetched.wtxids is not None and len(fetched.wtxids) == proof.header.tx_count:
            self._propose(proof.header, fetched.wtxids, changes, proof)
            return
        claim = (proof.round, proof.block_id)
        self._unavailable[claim] = len(machine.round_changes.sources(claim))
        self.try_to_lead()

    def _propose(
        self,
        header: BlockHeader,
        wtxids: tuple[bytes, ...],
        changes: list[RoundChange],
        proof: PreparedCertificate | None,
    ) -> None:
        machine = self._machine
        own = machine.setting.own_index
        assert own is not None
        machine.request(
            Proposal(
                height=machine.height,
                round=machine.round,
                signer=own,
                signature=NO_SIGNATURE,
                header=header,
                wtxids=wtxids,
                round_changes=tuple(SignedRoundChange(c.signer, c.signature, c.prepared) for c in changes),
                prepares=() if proof is None else proof.prepares,
            )
        )
