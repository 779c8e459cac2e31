"""Evidence against validators is kept on disk, once, and survives a restart; a kept proof is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from consensus.evidence import Evidence
from drexnode.evidence_store import EvidenceStore, keep_proofs
from primitives.errors import InvariantViolation, StorageFailure
from primitives.limits import DRIVER_EVIDENCE_KEPT, EVIDENCE_PER_VALIDATOR


def evidence(height: int, second: int = 1) -> Evidence:
    return Evidence(bytes(32), bytes(32), 2, height, 0, bytes(32), bytes(64), bytes([second]) * 32, bytes(64))


def test_evidence_is_there_after_a_restart(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path / "evidence")
    for height in (7, 3):
        assert store.admit(evidence(height))
        store.write(evidence(height))
    assert EvidenceStore(tmp_path / "evidence").kept == (evidence(3), evidence(7))


def test_a_validator_that_signs_one_step_a_thousand_times_leaves_one_file(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    admitted = [store.admit(evidence(1, second=number % 255 + 1)) for number in range(1000)]
    assert admitted.count(True) == 1
    assert store.kept == (evidence(1, second=1),)


def test_evidence_is_bounded(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    for number in range(DRIVER_EVIDENCE_KEPT + 5):
        validator = (number // EVIDENCE_PER_VALIDATOR).to_bytes(32, "big")
        store.admit(structs.replace(evidence(number), validator=validator))
    assert len(store.kept) == DRIVER_EVIDENCE_KEPT


def test_one_validator_can_not_fill_the_store(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    for height in range(EVIDENCE_PER_VALIDATOR + 5):
        store.admit(evidence(height))
    assert len(store.kept) == EVIDENCE_PER_VALIDATOR
    assert store.admit(structs.replace(evidence(1), validator=bytes([7]) * 32))


def test_a_damaged_file_hides_nothing_else(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.write(evidence(1))
    (tmp_path / "equivocation-0-broken.bin").write_bytes(b"\xc1")
    assert EvidenceStore(tmp_path).kept == (evidence(1),)


def test_evidence_that_can_not_be_written_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_bytes(b"a file where the folder belongs")
    with pytest.raises(StorageFailure):
        EvidenceStore(tmp_path / "evidence").write(evidence(1))


def test_the_proof_that_stopped_a_node_is_written_and_named(tmp_path: Path) -> None:
    stopped = InvariantViolation("CONFLICTING_CERTIFICATES", "two blocks", height=9, proof=b"proof")
    group = BaseExceptionGroup("nursery", [ValueError("another"), ExceptionGroup("inner", [stopped])])
    (path,) = keep_proofs(group, tmp_path / "evidence")
    assert path.read_bytes() == b"proof"
    assert "9" in path.name
    assert keep_proofs(InvariantViolation("OTHER", "no proof"), tmp_path) == []
