"""Signatures of one height: who is who, and each signature verified once."""

from __future__ import annotations

from consensus.evidence import Verify
from consensus.messages import Seal, prepare_sighash
from primitives.limits import CONSENSUS_MAX_VERIFIED
from primitives.validators import ValidatorSet


class VoteVerifier:
    """Checks votes of one height against its validator set; remembers what verified (bounded)."""

    __slots__ = ("_known", "_verify", "domain", "validators")

    def __init__(self, verify: Verify, validators: ValidatorSet, domain: bytes) -> None:
        self._verify = verify
        self._known: set[tuple[int, bytes, bytes]] = set()
        self.validators = validators
        self.domain = domain

    def check(self, signer: int, sighash: bytes, signature: bytes) -> bool:
        """True when `signer` is in the set and signed. A known signature costs no second verification."""
        if signer >= self.validators.size:
            return False
        entry = (signer, sighash, signature)
        if entry in self._known:
            return True
        if not self._verify(self.validators.keys[signer], sighash, signature):
            return False
        self.trust(signer, sighash, signature)
        return True

    def trust(self, signer: int, sighash: bytes, signature: bytes) -> None:
        """Remember a signature as good (our own signer made it)."""
        if len(self._known) >= CONSENSUS_MAX_VERIFIED:
            self._known.clear()  # they are verified again when they come back
        self._known.add((signer, sighash, signature))

    def check_prepares(self, height: int, round: int, block_id: bytes, prepares: tuple[Seal, ...]) -> bool:
        """True for at least a quorum of PREPAREs by distinct validators, ascending, every one verified."""
        if len(prepares) < self.validators.quorum or not ascending(prepares):
            return False
        sighash = prepare_sighash(self.domain, height, round, block_id)
        return all(self.check(signer, sighash, signature) for signer, signature in prepares)


def ascending(seals: tuple[Seal, ...]) -> bool:
    """True when signers are strictly ascending, and so distinct."""
    last = -1
    for signer, _ in seals:
        if signer <= last:
            return False
        last = signer
    return True
