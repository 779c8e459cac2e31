"""Proofs against validators that anyone can check: double signing, and two certificates for one height.

Layout: docs/encodings-consensus.md, "Evidence" and "Conflict proof".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from consensus.messages import Hash, Height, Round, SignatureBytes
from primitives.block import BlockHeader, block_id, check_header_shape
from primitives.certificate import (
    STEP_ROUND_CHANGE,
    CommitCertificate,
    verify_certificate,
    vote_domain,
    vote_sighash,
)
from primitives.codec import Record, decode
from primitives.errors import DecodeError
from primitives.hashing import HASH_BYTES
from primitives.keys import PublicKey
from primitives.limits import KIB, MAX_ROUND, MAX_VALIDATORS
from primitives.validators import ValidatorSet

MAX_EVIDENCE_BYTES = 4 * KIB
MAX_CONFLICT_PROOF_BYTES = 256 * KIB

Verify = Callable[[bytes, bytes, bytes], bool]
# What one vote says beyond its step, height and round: a block id, or for a ROUND_CHANGE its claim or None.
# Widths are checked by `_rest`: msgspec 0.22 writes past its memory for a union of a bounded type and a tuple
# of fixed length (docs/decisions/0045-evidence-checks-its-widths.md).
Payload = bytes | tuple[int, bytes] | None


class Evidence(Record, frozen=True):
    """`[validator, validators_hash, step, height, round, first, first_signature, second, second_signature]`.

    `validator` (public key) signed two different payloads for one (step, height, round).
    """

    validator: Hash
    validators_hash: Hash
    step: Annotated[int, Meta(ge=0, le=3)]
    height: Height
    round: Round
    first: Payload
    first_signature: SignatureBytes
    second: Payload
    second_signature: SignatureBytes


class ConflictProof(Record, frozen=True):
    """`[chain_id, epoch, validators, header_a, certificate_a, header_b, certificate_b]`.

    Two certified blocks of one height. `accused` names the keys that sealed both: at least f + 1.
    """

    chain_id: Hash
    epoch: int
    validators: Annotated[tuple[Hash, ...], Meta(max_length=MAX_VALIDATORS)]
    header_a: BlockHeader
    certificate_a: CommitCertificate
    header_b: BlockHeader
    certificate_b: CommitCertificate

    @property
    def accused(self) -> tuple[bytes, ...]:
        """The public keys whose seals stand in both certificates."""
        both = {index for index, _ in self.certificate_a.seals} & {i for i, _ in self.certificate_b.seals}
        return tuple(self.validators[index] for index in sorted(both))


def _rest(step: int, payload: Payload) -> tuple[object, ...]:
    """What a payload appends to (step, height, round) when signed. Raises `DecodeError` on the wrong kind."""
    if step != STEP_ROUND_CHANGE:
        if isinstance(payload, bytes) and len(payload) == HASH_BYTES:
            return (payload,)
    elif payload is None:
        return ()
    elif isinstance(payload, tuple) and 0 <= payload[0] <= MAX_ROUND and len(payload[1]) == HASH_BYTES:
        return payload
    raise DecodeError("the payload is not of this step", code="EVIDENCE_MALFORMED")


def verify_evidence(evidence: Evidence, chain_id: bytes, verify: Verify) -> bool:
    """True when both signatures are the validator's and the two payloads differ.

    Whether `validator` belonged to the set of `validators_hash` is the caller's to know.
    """
    domain = vote_domain(chain_id, evidence.validators_hash)
    signed = (
        (evidence.first, evidence.first_signature),
        (evidence.second, evidence.second_signature),
    )
    if evidence.first == evidence.second:
        return False
    for payload, signature in signed:
        rest = _rest(evidence.step, payload)
        sighash = vote_sighash(domain, evidence.step, evidence.height, evidence.round, *rest)
        if not verify(evidence.validator, sighash, signature):
            return False
    return True


def decode_evidence(data: bytes) -> Evidence:
    """Read evidence that a peer sent. Raises `DecodeError`."""
    evidence = decode(data, Evidence, max_bytes=MAX_EVIDENCE_BYTES)
    for payload in (evidence.first, evidence.second):
        _rest(evidence.step, payload)
    return evidence


def decode_conflict_proof(data: bytes) -> ConflictProof:
    """Read a conflict proof. Raises `DecodeError`."""
    proof = decode(data, ConflictProof, max_bytes=MAX_CONFLICT_PROOF_BYTES)
    check_header_shape(proof.header_a)
    check_header_shape(proof.header_b)
    return proof


def verify_conflict_proof(proof: ConflictProof, verify: Verify) -> None:
    """Check that the proof stands by itself. Raises `InvalidBlock` or `DecodeError` when it does not."""
    validators = ValidatorSet(proof.epoch, tuple(PublicKey(key) for key in proof.validators))
    if block_id(proof.header_a) == block_id(proof.header_b) or proof.header_a.height != proof.header_b.height:
        raise DecodeError("the two blocks do not conflict", code="PROOF_MALFORMED")
    for header, certificate in (
        (proof.header_a, proof.certificate_a),
        (proof.header_b, proof.certificate_b),
    ):
        verify_certificate(certificate, proof.chain_id, validators, block_id(header), header.height, verify)
