"""Proofs against validators: what stands, what does not, and that nothing else is read as one."""

from __future__ import annotations

import pytest
from msgspec import structs

from consensus.effects import EvidenceFound, Halt
from consensus.evidence import (
    ConflictProof,
    Evidence,
    decode_conflict_proof,
    decode_evidence,
    verify_conflict_proof,
    verify_evidence,
)
from consensus.inputs import BlockSynced, PeerId
from primitives.block import block_id
from primitives.codec import encode
from primitives.errors import DecodeError, InvalidBlock
from tests.consensus.engine import Engine, of_type
from tests.scenarios.cast import CHAIN, OTHER_CHAIN, verify_fake


def _evidence(*texts: str) -> Evidence:
    """What the engine finds when it hears these."""
    engine = Engine()
    engine.start()
    for text in texts:
        engine.say(text)
    (found,) = of_type(engine.effects, EvidenceFound)
    assert isinstance(found, EvidenceFound)
    return found.evidence


@pytest.mark.parametrize(
    "texts",
    [
        ("PROPOSAL A r0 x", "PROPOSAL A r0 y"),
        ("PREPARE B r0 x", "PREPARE B r0 y"),
        ("COMMIT B r0 x", "COMMIT B r0 y"),
        ("ROUND_CHANGE B r1", "ROUND_CHANGE B r1 prepared 0 x by A B C"),
    ],
)
def test_what_the_engine_finds_is_evidence_that_anyone_can_check(texts: tuple[str, str]) -> None:
    evidence = _evidence(*texts)
    assert verify_evidence(evidence, CHAIN, verify_fake)
    assert decode_evidence(encode(evidence)) == evidence
    assert not verify_evidence(evidence, OTHER_CHAIN, verify_fake)
    assert not verify_evidence(structs.replace(evidence, height=2), CHAIN, verify_fake)
    assert not verify_evidence(structs.replace(evidence, second=evidence.first), CHAIN, verify_fake)


def test_a_payload_of_another_step_or_width_is_no_evidence() -> None:
    of_block, of_claim = (
        _evidence("COMMIT B r0 x", "COMMIT B r0 y"),
        _evidence("ROUND_CHANGE B r1", "ROUND_CHANGE B r1 prepared 0 x by A B C"),
    )
    for wrong in (
        structs.replace(of_block, step=0),
        structs.replace(of_block, first=None),
        structs.replace(of_block, first=bytes(31)),
        structs.replace(of_claim, step=3),
        structs.replace(of_claim, second=bytes(32)),
        structs.replace(of_claim, second=(0, bytes(33))),
        structs.replace(of_claim, second=(-1, bytes(32))),
        structs.replace(of_claim, second=(2**31, bytes(32))),
    ):
        with pytest.raises(DecodeError):
            decode_evidence(encode(wrong))


def _proof() -> ConflictProof:
    engine = Engine()
    engine.start()
    engine.decide("x")
    other = engine.cast.block("y", 1)
    certificate = engine.cast.certificate(other, 1, "BCD")
    effects = engine.feed(BlockSynced(PeerId("B"), other, (), certificate))
    (halt,) = of_type(effects, Halt)
    assert isinstance(halt, Halt)
    assert engine.core.is_halted
    assert engine.say("COMMIT A r3 x") == []  # the engine is dead
    return halt.proof


def test_two_certificates_are_a_proof_that_stands_by_itself_and_names_f_plus_1() -> None:
    proof = _proof()
    verify_conflict_proof(proof, verify_fake)
    assert decode_conflict_proof(encode(proof)) == proof
    assert proof.accused == tuple(proof.validators[index] for index in (1, 2))


def test_a_proof_of_one_block_or_two_heights_is_none() -> None:
    proof = _proof()
    same = structs.replace(proof, header_b=proof.header_a, certificate_b=proof.certificate_a)
    later = structs.replace(proof, header_b=structs.replace(proof.header_b, height=2))
    for wrong in (same, later):
        with pytest.raises(DecodeError):
            verify_conflict_proof(wrong, verify_fake)


def test_a_proof_with_too_few_or_false_seals_is_none() -> None:
    proof = _proof()
    certificate = proof.certificate_b
    few = structs.replace(certificate, seals=certificate.seals[:2])
    false = structs.replace(certificate, seals=(*certificate.seals[:2], (3, bytes(64))))
    for wrong in (few, false):
        with pytest.raises(InvalidBlock):
            verify_conflict_proof(structs.replace(proof, certificate_b=wrong), verify_fake)


def test_a_commit_for_another_block_after_the_decision_is_evidence() -> None:
    engine = Engine()
    engine.start()
    engine.decide("x")
    engine.say("COMMIT B r0 x")  # a copy
    engine.say("COMMIT D r0 y forged")
    engine.say("COMMIT B r1 y")  # another round proves nothing
    engine.say("COMMIT B r0 y forged")
    assert not of_type(engine.effects, EvidenceFound)
    effects = engine.say("COMMIT B r0 y")
    (found,) = of_type(effects, EvidenceFound)
    assert isinstance(found, EvidenceFound)
    assert verify_evidence(found.evidence, CHAIN, verify_fake)
    assert found.evidence.first == block_id(engine.cast.block("x", 1))
