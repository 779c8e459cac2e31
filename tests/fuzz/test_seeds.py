"""Seeds of the file targets are believed, so that mutation begins behind every check and not before it."""

from __future__ import annotations

import pytest

from ledger.override import check_override, decode_override
from ledger.proof import decode_proof_file
from primitives.errors import DrexError
from storage.snapshot_format import decode_manifest
from tests.fuzz import file_targets
from tests.fuzz.checks import always


def test_the_way_of_a_manifest_leads_over_a_hand_over_and_an_override_to_its_block() -> None:
    manifest = decode_manifest(file_targets.snapshots()[0])
    assert manifest.path.hand_overs
    assert manifest.path.overrides
    file_targets.believe_manifest(manifest)


def test_a_mutated_way_is_not_believed() -> None:
    seed = file_targets.snapshots()[0]
    order = decode_manifest(seed).path.overrides[0].order
    at = seed.rindex(order.validators[0].public_key)
    with pytest.raises(DrexError):
        file_targets.believe_manifest(decode_manifest(seed[:at] + bytes(32) + seed[at + 32 :]))


def test_proofs_are_believed() -> None:
    for seed in file_targets.proof_files():
        file_targets.believe_proof(decode_proof_file(seed))


def test_an_override_is_believed() -> None:
    override = decode_override(file_targets.overrides()[0])
    check_override(override, file_targets._DOCUMENT, file_targets._CHAIN_ID, always)
