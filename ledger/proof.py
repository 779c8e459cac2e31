"""A proof that stands alone: what the state of one block says about an output, an address or a supply.

Promise: `check` returns only if every byte that the answer rests on follows from the anchor: the validators
are the anchor's or were handed the decision from it (overrides by the genesis's recovery condition), a quorum
of them certified the header, and the header's state root holds the answer. Whoever made the proof, or
passed it on, is trusted with nothing. Bytes: docs/encodings.md, "Proofs". Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from msgspec import Meta

from ledger.genesis_records import GenesisDocument
from ledger.locks import Bytes32
from ledger.state import LOCK_BYTES, SUPPLY
from ledger.state_proof import ProvenOutput, StateProof, verify_address, verify_entry, verify_output
from ledger.supply import Supply, decode_supply
from ledger.trust_path import Anchor, TrustPath, check_shape
from ledger.votes import decode_validators
from primitives.block import BlockHeader, check_header_shape
from primitives.certificate import CommitCertificate, Verify, check_certificate_shape
from primitives.codec import Record, decode
from primitives.errors import DecodeError, DrexError
from primitives.limits import MAX_ASSET_NAME_BYTES, MAX_PROOF_FILE_BYTES, TREE_ARITY

PROOF_VERSION = 1
OUTPOINT_BYTES = 36


class ProofRefused(DrexError):
    """A proof that proves nothing to whoever holds this anchor. Codes PROOF_*."""


class Subject(IntEnum):
    """What a proof is about."""

    OUTPUT = 0
    ADDRESS = 1
    SUPPLY = 2


class Question(Record, frozen=True):
    """`lock` of an output or address (else empty); `name`: outpoint (36 bytes), or the asset's name."""

    subject: Subject
    lock: Annotated[bytes, Meta(max_length=LOCK_BYTES)]
    name: Annotated[bytes, Meta(max_length=max(OUTPOINT_BYTES, MAX_ASSET_NAME_BYTES))]


class Proof(Record, frozen=True):
    """`first` is the genesis's validator set, [epoch, keys] encoded: where the path begins."""

    version: int
    chain_id: Bytes32
    question: Question
    header: BlockHeader
    certificate: CommitCertificate
    first: bytes
    path: TrustPath
    state: StateProof


@dataclass(frozen=True, slots=True)
class Proven:
    """The answer, true after `header`. `supply` is None for an asset without entry; `outputs` are those that
    exist: one or none for an output, all of an address."""

    question: Question
    header: BlockHeader
    signers: int
    outputs: tuple[ProvenOutput, ...] = ()
    supply: Supply | None = None

    @property
    def is_present(self) -> bool:
        """Whether what was asked for exists."""
        return bool(self.outputs) or self.supply is not None


def decode_proof_file(data: bytes) -> Proof:
    """Read a proof; nothing of it is verified. Raises `DecodeError` (PROOF_MALFORMED and others)."""
    proof = decode(data, Proof, max_bytes=MAX_PROOF_FILE_BYTES)
    check_header_shape(proof.header)
    check_certificate_shape(proof.certificate)
    check_shape(proof.path)
    lengths = (len(proof.question.lock), len(proof.question.name))
    fits = {
        Subject.OUTPUT: lengths == (LOCK_BYTES, OUTPOINT_BYTES),
        Subject.ADDRESS: lengths == (LOCK_BYTES, 0),
        Subject.SUPPLY: lengths[0] == 0 < lengths[1],
    }
    if proof.version != PROOF_VERSION or not fits[proof.question.subject]:
        raise DecodeError("its version or its question is unknown", code="PROOF_MALFORMED")
    return proof


def anchor_of(
    proof: Proof, document: GenesisDocument | None, pinned: bytes | None, chain_id: bytes | None = None
) -> Anchor:
    """The anchor of a genesis, of a pinned `validators_hash`, or of both.

    Raises `ProofRefused`: PROOF_OTHER_CHAIN, PROOF_NO_ANCHOR."""
    if document is None and pinned is None:
        raise ProofRefused("PROOF_NO_ANCHOR", "a genesis or a validators_hash has to be trusted")
    first = decode_validators(proof.first)  # believed only where its hash is the pinned one
    anchor = Anchor(proof.chain_id, first, pinned)
    if document is not None:
        anchor = Anchor.of_genesis(document, pinned)
    if anchor.first.hash != first.hash:
        raise ProofRefused("PROOF_OTHER_CHAIN", "it begins with another validator set than the genesis")
    for trusted in (anchor.chain_id, chain_id or proof.chain_id):
        if trusted != proof.chain_id:
            message = f"it is of chain {proof.chain_id.hex()}, not of {trusted.hex()}"
            raise ProofRefused("PROOF_OTHER_CHAIN", message)
    return anchor


def check(proof: Proof, anchor: Anchor, verify: Verify) -> Proven:
    """What the proof shows to whoever trusts `anchor`.

    Raises `InvalidBlock` and `OverrideRefused` where the header is not certified from there, and
    `DecodeError` (PROOF_INVALID) where the state does not say what the proof says."""
    proof.path.check_block_from(anchor, verify, proof.header, proof.certificate)
    signers = len(proof.certificate.seals)
    root, question = proof.header.state_root, proof.question
    depth = len(
        proof.state.nodes
    )  # buckets, pages and nodes are hashed apart: no other depth can fit the root
    buckets = TREE_ARITY**depth if anchor.document is None else anchor.document.parameters.bucket_count
    match question.subject:
        case Subject.OUTPUT:
            txid, index = question.name[:32], int.from_bytes(question.name[32:], "big")
            found = verify_output(root, buckets, txid, index, question.lock, proof.state)
            outputs = () if found is None else (ProvenOutput(txid, index, found),)
            return Proven(question, proof.header, signers, outputs)
        case Subject.ADDRESS:
            all_outputs = verify_address(root, buckets, question.lock, proof.state)
            return Proven(question, proof.header, signers, tuple(all_outputs))
        case Subject.SUPPLY:
            value = verify_entry(root, buckets, SUPPLY + question.name, proof.state)
            supply = None if value is None else decode_supply(value)
            return Proven(question, proof.header, signers, supply=supply)
