"""When a proposal is justified, and which one a leader may make. Pure predicates over one height.

Rules (docs/consensus.md, "Justification"; predicates of the formal specification in brackets):
round 0 carries nothing; above it a quorum of ROUND_CHANGEs of distinct validators for exactly this height
and round; if none of them prepared, the block is fresh (its proposer is the sender) and no PREPAREs are
attached; otherwise it is the block of the highest prepared round, proven by a quorum of PREPAREs
[isProposalJustification, isHighestPrepared, validRoundChange].
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.messages import (
    Claim,
    PreparedCertificate,
    Proposal,
    RoundChange,
    SignedRoundChange,
    round_change_sighash,
)
from consensus.verifier import VoteVerifier
from primitives.block import block_id


def proposal_fault(proposal: Proposal, proposed_id: bytes, verifier: VoteVerifier) -> str:
    """Why the proposal is not justified, or "" when it is. Its own signature is checked elsewhere."""
    if proposal.round == 0:
        if proposal.round_changes or proposal.prepares:
            return "round 0 needs no justification and carries none"
        return _fresh_fault(proposal, verifier)
    if fault := _round_changes_fault(proposal, verifier):
        return fault
    highest = highest_claim(change.prepared for change in proposal.round_changes)
    if highest is None:
        if proposal.prepares:
            return "PREPAREs are attached though nobody claims to have prepared"
        return _fresh_fault(proposal, verifier)
    return _reproposal_fault(proposal, proposed_id, highest, verifier)


def is_fresh(proposal: Proposal) -> bool:
    """True when the (justified) proposal introduces a new block instead of repeating a prepared one."""
    return not proposal.prepares


def highest_claim(claims: Iterable[Claim | None]) -> Claim | None:
    """The claim with the highest prepared round, or None when nobody claims anything."""
    return max((claim for claim in claims if claim is not None), key=lambda claim: claim[0], default=None)


def round_change_fault(message: RoundChange) -> str:
    """Why a ROUND_CHANGE can't be right whatever its signatures say, or ""."""
    if message.round == 0:
        return "nobody changes to round 0"
    if message.prepared is None:
        if message.header is not None or message.prepares:
            return "a prepared block is attached but not claimed"
        return ""
    if message.prepared[0] >= message.round:
        return "the prepared round is not below the target round"
    if message.header is not None and block_id(message.header) != message.prepared[1]:
        return "the attached header is not the claimed block's"
    return ""


def is_backed(message: RoundChange, verifier: VoteVerifier) -> bool:
    """True when the ROUND_CHANGE claims nothing, or carries header and PREPAREs that prove its claim."""
    if message.prepared is None:
        return True
    if message.header is None:
        return False
    round, prepared_id = message.prepared
    return verifier.check_prepares(message.height, round, prepared_id, message.prepares)


def certificate_of(message: RoundChange) -> PreparedCertificate | None:
    """The prepared certificate a backed ROUND_CHANGE carries, or None when it claims nothing."""
    if message.prepared is None:
        return None
    round, prepared_id = message.prepared
    return PreparedCertificate(round, prepared_id, message.header, message.prepares)


def proof_of(proposal: Proposal, proposed_id: bytes) -> PreparedCertificate | None:
    """The prepared certificate a justified proposal carries, or None when its block is fresh."""
    highest = highest_claim(change.prepared for change in proposal.round_changes)
    if highest is None:
        return None
    return PreparedCertificate(highest[0], proposed_id, proposal.header, proposal.prepares)


def justifiable_subsets(
    changes: list[tuple[RoundChange, bool]], quorum: int
) -> list[tuple[list[RoundChange], PreparedCertificate | None]]:
    """All the ways a leader can justify a proposal, best first: highest proven block, lower ones, none.

    `changes` are the ROUND_CHANGEs for exactly the leader's round, by distinct authors, each with whether it
    is backed. A claim without proof is left out where it would outrank the proof; it spoils nothing else.
    """
    subsets: list[tuple[list[RoundChange], PreparedCertificate | None]] = []
    proofs = {c.prepared: c for c, backed in changes if backed and c.prepared is not None}
    for claim in sorted(proofs, key=lambda claim: (claim[0], claim[1]), reverse=True):
        allowed = [
            c for c, _ in changes if c.prepared is None or c.prepared == claim or c.prepared[0] < claim[0]
        ]
        if len(allowed) >= quorum:
            subsets.append((allowed, certificate_of(proofs[claim])))
    unprepared = [change for change, _ in changes if change.prepared is None]
    if len(unprepared) >= quorum:
        subsets.append((unprepared, None))
    return subsets


def _fresh_fault(proposal: Proposal, verifier: VoteVerifier) -> str:
    if proposal.header.proposer != verifier.validators.keys[proposal.signer]:
        return "a fresh block is proposed by its own proposer"
    return ""


def _round_changes_fault(proposal: Proposal, verifier: VoteVerifier) -> str:
    changes = proposal.round_changes
    if len(changes) < verifier.validators.quorum:
        return f"{len(changes)} ROUND_CHANGEs, {verifier.validators.quorum} are needed"
    last = -1
    for change in changes:
        if change.signer <= last:
            return "ROUND_CHANGEs are ascending by distinct authors"
        last = change.signer
        if change.prepared is not None and change.prepared[0] >= proposal.round:
            return "a ROUND_CHANGE claims a prepared round that is not below the target round"
    if not all(_is_signed(change, proposal, verifier) for change in changes):
        return "a ROUND_CHANGE is not signed by its author for this height and round"
    return ""


def _is_signed(change: SignedRoundChange, proposal: Proposal, verifier: VoteVerifier) -> bool:
    sighash = round_change_sighash(verifier.domain, proposal.height, proposal.round, change.prepared)
    return verifier.check(change.signer, sighash, change.signature)


def _reproposal_fault(proposal: Proposal, proposed_id: bytes, highest: Claim, verifier: VoteVerifier) -> str:
    for change in proposal.round_changes:
        claim = change.prepared
        if claim is not None and claim[0] == highest[0] and claim[1] != proposed_id:
            return "the block is not the one of the highest prepared round"
    if not verifier.check_prepares(proposal.height, highest[0], proposed_id, proposal.prepares):
        return "the PREPAREs do not prove the highest prepared block"
    return ""
