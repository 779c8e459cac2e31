"""Proofs: what the state holds verifies, what it does not hold is shown absent, and nothing else passes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.state import output_key, read_output
from ledger.state_proof import (
    StateProof,
    decode_proof,
    verify_address,
    verify_entry,
    verify_key,
    verify_output,
)
from ledger.state_prover import prove_address, prove_entry, prove_key, prove_output
from primitives.codec import encode
from primitives.errors import DecodeError
from tests.ledger.test_state_tree import ENTRIES, Ledger, balance, output

COUNT = 16


def crowded(outputs_of_one: int = 3) -> Ledger:
    """A state whose buckets hold many entries, with `outputs_of_one` outputs of owner 99."""
    ledger = Ledger(COUNT)
    ledger.write({**dict(ENTRIES), **dict(output(1000 + i, 99) for i in range(outputs_of_one))})
    return ledger


def lock_of_owner(owner: int) -> bytes:
    return output(0, owner)[1][:32]


@pytest.mark.parametrize("of_one", [1, 3, 500])
def test_an_unspent_output_is_proven(of_one: int) -> None:
    ledger = crowded(of_one)
    key, value = output(1000, 99)
    proof = prove_output(ledger.tree, ledger.state, key[1:33], 0, value[:32])
    found = verify_output(ledger.tree.root, COUNT, key[1:33], 0, value[:32], decode_proof(encode(proof)))
    assert found == read_output(value)


@pytest.mark.parametrize("of_one", [0, 3, 500])
def test_a_spent_output_is_proven_absent(of_one: int) -> None:
    ledger = crowded(of_one)
    key, value = output(9_999, 99)
    proof = prove_output(ledger.tree, ledger.state, key[1:33], 0, value[:32])
    assert verify_output(ledger.tree.root, COUNT, key[1:33], 0, value[:32], proof) is None


def test_absence_in_an_empty_tree_is_proven() -> None:
    ledger = Ledger(COUNT)
    proof = prove_output(ledger.tree, ledger.state, bytes(32), 0, bytes(32))
    assert verify_output(ledger.tree.root, COUNT, bytes(32), 0, bytes(32), proof) is None
    assert verify_address(ledger.tree.root, COUNT, bytes(32), proof) == []


@pytest.mark.parametrize("of_one", [0, 1, 3, 500])
def test_an_address_is_proven_with_all_its_outputs_and_no_other(of_one: int) -> None:
    ledger = crowded(of_one)
    lock = lock_of_owner(99)
    proof = decode_proof(encode(prove_address(ledger.tree, ledger.state, lock)))
    found = verify_address(ledger.tree.root, COUNT, lock, proof)
    expected = sorted(
        (key, value) for key, value in ledger.state.items() if key[:1] == b"o" and value[:32] == lock
    )
    assert [(output_key(item.txid, item.place), item.output) for item in found] == [
        (key, read_output(value)) for key, value in expected
    ]
    assert len(found) == of_one


def test_a_balance_lies_in_the_bucket_of_its_lock() -> None:
    ledger = crowded()
    key, value = balance(3)
    proof = prove_key(ledger.tree, ledger.state, key, lock_of_owner(3))
    assert verify_key(ledger.tree.root, COUNT, key, lock_of_owner(3), proof) == value


def test_supply_and_every_other_entry_is_proven_by_its_key() -> None:
    ledger = crowded()
    ledger.write({b"sBRL": bytes(16)})
    proof = prove_entry(ledger.tree, ledger.state, b"sBRL")
    assert verify_entry(ledger.tree.root, COUNT, b"sBRL", proof) == bytes(16)
    absent = prove_entry(ledger.tree, ledger.state, b"sX")
    assert verify_entry(ledger.tree.root, COUNT, b"sX", absent) is None


def test_a_proof_that_leaves_an_output_out_is_refused() -> None:
    ledger = crowded(3)
    lock = lock_of_owner(99)
    proof = prove_address(ledger.tree, ledger.state, lock)
    root = ledger.tree.root
    mine = next(value for value in proof.values if value[1][:32] == lock)
    others = tuple(value for value in proof.values if value != mine)
    for forged in (
        StateProof(proof.nodes, proof.pages, others),
        StateProof(proof.nodes, proof.pages, (*others, (mine[0], mine[1][:-1] + b"?"))),
        StateProof(proof.nodes, proof.pages[:-1], proof.values),
        StateProof(proof.nodes, (*proof.pages, proof.pages[-1]), proof.values),
        StateProof(proof.nodes[:-1], proof.pages, proof.values),
        StateProof(proof.nodes, (), proof.values),
    ):
        with pytest.raises(DecodeError, match="PROOF_INVALID"):
            verify_address(root, COUNT, lock, forged)


def test_presence_cannot_be_hidden_by_leaving_the_page_out() -> None:
    ledger = crowded(3)
    key, value = output(1000, 99)
    proof = prove_output(ledger.tree, ledger.state, key[1:33], 0, value[:32])
    for forged in (StateProof(proof.nodes, (), ()), StateProof(proof.nodes, proof.pages, ())):
        with pytest.raises(DecodeError, match="PROOF_INVALID"):
            verify_output(ledger.tree.root, COUNT, key[1:33], 0, value[:32], forged)


def test_a_proof_for_another_root_is_refused() -> None:
    ledger = crowded()
    key, value = output(1000, 99)
    proof = prove_output(ledger.tree, ledger.state, key[1:33], 0, value[:32])
    ledger.write({key: None})
    with pytest.raises(DecodeError, match="PROOF_INVALID"):
        verify_output(ledger.tree.root, COUNT, key[1:33], 0, value[:32], proof)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_flipped_bit_passes(data: st.DataObject) -> None:
    """Whatever byte of a proof is changed, it proves the same or is refused, never something else."""
    ledger = CROWDED
    lock = lock_of_owner(99)
    proof = prove_address(ledger.tree, ledger.state, lock)
    honest = verify_address(ledger.tree.root, COUNT, lock, proof)
    raw = bytearray(encode(proof))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        found = verify_address(ledger.tree.root, COUNT, lock, decode_proof(bytes(raw)))
    except DecodeError:
        return
    assert found == honest


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.lists(st.binary(max_size=80), max_size=4))
def test_garbage_raises_decode_error_alone(blob: bytes, pages: list[bytes]) -> None:
    with contextlib.suppress(DecodeError):
        decode_proof(blob)
    with pytest.raises(DecodeError):
        verify_key(blob[:32], COUNT, b"k" + blob, bytes(32), StateProof((blob,), tuple(pages), ()))


CROWDED = crowded(80)
