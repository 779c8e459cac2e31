"""What a validator signs, and the certificate that a quorum of COMMIT signatures makes.

Every vote signs `H("drex/qbft", [domain, step, height, round, ...])`; the domain holds the chain and the
validator set, so a vote means nothing on another chain or in another epoch. A COMMIT's signature *is* the
seal: nothing is signed twice. Layout: docs/encodings.md, "Votes and certificates".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from primitives.block import BlockId
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, InvalidBlock
from primitives.hashing import HASH_BYTES, tagged_hasher
from primitives.keys import SIGNATURE_BYTES
from primitives.limits import MAX_CERTIFICATE_BYTES, MAX_HEIGHT, MAX_ROUND, MAX_VALIDATORS
from primitives.validators import ValidatorSet

Verify = Callable[[bytes, bytes, bytes], bool]

CERTIFICATE_VERSION = 1
PREPARED_VERSION = 2  # its seals are PREPAREs: final only under an override that names the block

# The steps of a round in the order in which one validator may sign them.
STEP_ROUND_CHANGE = 0
STEP_PROPOSAL = 1
STEP_PREPARE = 2
STEP_COMMIT = 3

_hash_domain = tagged_hasher("drex/domain")
_hash_vote = tagged_hasher("drex/qbft")


class CommitCertificate(Record, frozen=True):
    """Proof that a block is final: at least a quorum of seals, `(validator index, signature)` ascending.

    Of version 1 the seals are COMMITs. Of version 2 they are PREPAREs, and the block is final because a
    recovery override names it (docs/consensus.md, "Loss of more than f for good")."""

    version: int
    height: int
    round: int
    block_id: bytes
    seals: tuple[tuple[int, bytes], ...]


def vote_domain(chain_id: bytes, validators_hash: bytes) -> bytes:
    """H("drex/domain", chain_id || validators_hash): the 32 bytes that tie a vote to a chain and a set."""
    return _hash_domain(chain_id + validators_hash)


def vote_sighash(domain: bytes, step: int, height: int, round: int, *rest: object) -> bytes:
    """The 32 bytes a vote signs. `rest` is what the step adds, in order (a block id for most)."""
    return _hash_vote(encode([domain, step, height, round, *rest]))


def commit_sighash(domain: bytes, height: int, round: int, block_id: bytes) -> bytes:
    """The 32 bytes a COMMIT, and so a seal, signs."""
    return vote_sighash(domain, STEP_COMMIT, height, round, block_id)


def decode_certificate(data: bytes) -> CommitCertificate:
    """Read a canonical certificate. Raises `DecodeError`; says nothing about its signatures."""
    certificate = decode(data, CommitCertificate, max_bytes=MAX_CERTIFICATE_BYTES)
    check_certificate_shape(certificate)
    return certificate


def check_certificate_shape(certificate: CommitCertificate) -> None:
    """Refuse a certificate whose fields are out of range, whatever the chain. Raises `DecodeError`."""
    seals = certificate.seals
    well_formed = (
        certificate.version in (CERTIFICATE_VERSION, PREPARED_VERSION)
        and 0 < certificate.height <= MAX_HEIGHT
        and 0 <= certificate.round <= MAX_ROUND
        and len(certificate.block_id) == HASH_BYTES
        and len(seals) <= MAX_VALIDATORS
        and all(0 <= index < MAX_VALIDATORS and len(seal) == SIGNATURE_BYTES for index, seal in seals)
        and all(left[0] < right[0] for left, right in itertools.pairwise(seals))
    )
    if not well_formed:
        raise DecodeError("a certificate field is out of range", code="CERTIFICATE_MALFORMED")


def certificate_checks(
    certificate: CommitCertificate, chain_id: bytes, validators: ValidatorSet, block_id: BlockId, height: int
) -> list[tuple[bytes, bytes, bytes]]:
    """Check all of a certificate of COMMITs but its signatures; return those as (key, message, signature).

    Raises `InvalidBlock` when it names another block or height, is below the quorum, is not ascending, names
    a validator that does not exist, or holds other votes than COMMITs.
    """
    if certificate.version != CERTIFICATE_VERSION:
        raise InvalidBlock("CERTIFICATE_NOT_COMMITS", "its seals are no COMMITs", height=height)
    return _seal_checks(certificate, chain_id, validators, block_id, height, STEP_COMMIT)


def prepared_checks(
    certificate: CommitCertificate, chain_id: bytes, validators: ValidatorSet, block_id: BlockId, height: int
) -> list[tuple[bytes, bytes, bytes]]:
    """The same of a certificate of PREPAREs. It makes nothing final by itself: the caller knows an override
    that names the block. Raises `InvalidBlock`."""
    if certificate.version != PREPARED_VERSION:
        raise InvalidBlock("CERTIFICATE_NOT_PREPARES", "its seals are no PREPAREs", height=height)
    return _seal_checks(certificate, chain_id, validators, block_id, height, STEP_PREPARE)


def _seal_checks(
    certificate: CommitCertificate,
    chain_id: bytes,
    validators: ValidatorSet,
    block_id: BlockId,
    height: int,
    step: int,
) -> list[tuple[bytes, bytes, bytes]]:
    if certificate.block_id != block_id or certificate.height != height:
        raise InvalidBlock("CERTIFICATE_MISMATCH", "the certificate is of another block", height=height)
    indices = [index for index, _ in certificate.seals]
    if any(left >= right for left, right in itertools.pairwise(indices)):
        raise InvalidBlock("CERTIFICATE_DISORDER", "seals are ascending and distinct", height=height)
    if indices and not 0 <= indices[0] <= indices[-1] < validators.size:
        raise InvalidBlock("CERTIFICATE_STRANGER", "a seal is by nobody in the set", height=height)
    if len(indices) < validators.quorum:
        message = f"{len(indices)} seals, {validators.quorum} of {validators.size} are needed"
        raise InvalidBlock("CERTIFICATE_NO_QUORUM", message, height=height)
    domain = vote_domain(chain_id, validators.hash)
    sighash = vote_sighash(domain, step, height, certificate.round, block_id)
    return [(validators.keys[index], sighash, seal) for index, seal in certificate.seals]


def verify_certificate(
    certificate: CommitCertificate,
    chain_id: bytes,
    validators: ValidatorSet,
    block_id: BlockId,
    height: int,
    verify: Verify,
) -> None:
    """Check a certificate whole; every seal carried must verify. Raises `InvalidBlock`."""
    for key, sighash, seal in certificate_checks(certificate, chain_id, validators, block_id, height):
        if not verify(key, sighash, seal):
            raise InvalidBlock("CERTIFICATE_BAD_SEAL", f"a seal by {key.hex()} is false", height=height)
