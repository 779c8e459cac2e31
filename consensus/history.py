"""The last decided heights: what laggards are answered with and a second certificate is held against."""

from __future__ import annotations

import msgspec

from consensus.evidence import ConflictProof, Evidence
from consensus.messages import Commit, Decided, encode_message
from consensus.verifier import VoteVerifier
from primitives.block import BlockHeader, BlockId, block_id
from primitives.certificate import CommitCertificate, commit_sighash, verify_certificate
from primitives.errors import InvalidBlock
from primitives.limits import CONSENSUS_DECIDED_HEIGHTS


class DecidedBlock(msgspec.Struct, frozen=True, gc=False):
    """A decided header with its certificate. `verifier` is None when the set of its height is not known."""

    header: BlockHeader
    certificate: CommitCertificate
    verifier: VoteVerifier | None


class History:
    """Decided blocks by height, the last few only."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id = chain_id
        self._blocks: dict[int, DecidedBlock] = {}
        self._tip = 0

    def add(self, header: BlockHeader, certificate: CommitCertificate, verifier: VoteVerifier | None) -> None:
        """Remember a decided block; what is already known of its height stays."""
        self._blocks.setdefault(header.height, DecidedBlock(header, certificate, verifier))
        self._tip = max(self._tip, header.height)
        self._blocks.pop(self._tip - CONSENSUS_DECIDED_HEIGHTS, None)
        if len(self._blocks) > CONSENSUS_DECIDED_HEIGHTS:
            del self._blocks[min(self._blocks)]

    def answer(self, height: int) -> bytes | None:
        """The DECIDED message for a laggard at `height`: that height's, or the tip's when it is too old."""
        block = self._blocks.get(height) or self._blocks.get(self._tip)
        if block is None:
            return None
        return encode_message(Decided(block.header.height, block.header, block.certificate))

    def conflict(self, header: BlockHeader, certificate: CommitCertificate) -> ConflictProof | None:
        """Proof that `certificate` contradicts a decided block, or None when it does not or is not valid."""
        known = self._blocks.get(header.height)
        other_id = block_id(header)
        if known is None or known.verifier is None or other_id == known.certificate.block_id:
            return None
        if not is_certified(header, certificate, self._chain_id, known.verifier):
            return None
        validators = known.verifier.validators
        return ConflictProof(
            chain_id=self._chain_id,
            epoch=validators.epoch,
            validators=validators.keys,
            header_a=known.header,
            certificate_a=known.certificate,
            header_b=header,
            certificate_b=certificate,
        )

    def is_forged(self, commit: Commit) -> bool:
        """True when a late COMMIT's signature is not its author's; False also where that can't be known."""
        known = self._blocks.get(commit.height)
        if known is None or known.verifier is None:
            return False
        sighash = commit_sighash(known.verifier.domain, commit.height, commit.round, commit.block_id)
        return not known.verifier.check(commit.signer, sighash, commit.signature)

    def double_commit(self, commit: Commit) -> Evidence | None:
        """Evidence when the author of a late COMMIT sealed another block in the same round, or None.

        Its signature is known to be true: `is_forged` was asked first."""
        known = self._blocks.get(commit.height)
        if known is None or known.verifier is None or known.certificate.round != commit.round:
            return None
        certificate, verifier = known.certificate, known.verifier
        seal = dict(certificate.seals).get(commit.signer)
        if seal is None or commit.block_id == certificate.block_id:
            return None
        return Evidence(
            validator=verifier.validators.keys[commit.signer],
            validators_hash=verifier.validators.hash,
            step=3,
            height=commit.height,
            round=commit.round,
            first=certificate.block_id,
            first_signature=seal,
            second=commit.block_id,
            second_signature=commit.signature,
        )


def is_certified(
    header: BlockHeader, certificate: CommitCertificate, chain_id: bytes, verifier: VoteVerifier
) -> bool:
    """True when the certificate proves that `verifier`'s set decided this header."""
    validators = verifier.validators
    identity = BlockId(block_id(header))
    index_of = validators.index_of

    def check(key: bytes, sighash: bytes, seal: bytes) -> bool:
        index = index_of(key)
        return index is not None and verifier.check(index, sighash, seal)

    try:
        verify_certificate(certificate, chain_id, validators, identity, header.height, check)
    except InvalidBlock:
        return False
    return True
