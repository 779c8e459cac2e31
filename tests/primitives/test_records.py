"""Hashes, addresses, amounts, Merkle trees, validator sets, headers and certificates."""

from __future__ import annotations

import pickle
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primitives.address import decode_address, encode_address
from primitives.block import BlockHeader, block_id, decode_header
from primitives.certificate import (
    CommitCertificate,
    commit_sighash,
    decode_certificate,
    verify_certificate,
    vote_domain,
    vote_sighash,
)
from primitives.codec import encode
from primitives.errors import DecodeError, InvalidBlock, InvalidTransaction
from primitives.hashing import tagged_hash
from primitives.keys import PublicKey, SigningKey, verify
from primitives.merkle import merkle_proof, merkle_root, verify_merkle_proof
from primitives.units import format_amount, parse_amount
from primitives.validators import ValidatorSet, max_faulty, quorum_size

hashes = st.binary(min_size=32, max_size=32)
CHAIN_ID = bytes(32)
KEYS = sorted((SigningKey(bytes([n]) * 32) for n in range(4)), key=lambda key: key.public_key)
VALIDATORS = ValidatorSet(0, tuple(key.public_key for key in KEYS))
HEADER = BlockHeader(1, 7, b"p" * 32, 1000, KEYS[0].public_key, 0, bytes(32), b"s" * 32, b"v" * 32, b"n" * 32)


def certificate(signers: list[int], height: int = 7, round: int = 2) -> CommitCertificate:
    sighash = commit_sighash(vote_domain(CHAIN_ID, VALIDATORS.hash), height, round, block_id(HEADER))
    seals = tuple((index, KEYS[index].sign(sighash)) for index in signers)
    return CommitCertificate(1, height, round, block_id(HEADER), seals)


def check(found: CommitCertificate) -> None:
    verify_certificate(found, CHAIN_ID, VALIDATORS, block_id(HEADER), 7, verify)


@given(st.text(st.characters(codec="utf-8"), max_size=12), st.binary(max_size=200))
def test_tagged_hash_is_its_definition(tag: str, data: bytes) -> None:
    prefix = sha256(tag.encode()).digest() * 2
    assert tagged_hash(tag, data) == sha256(prefix + data).digest()


@given(hashes)
def test_address_round_trip_in_either_case(lock: bytes) -> None:
    text = encode_address("drexdev", lock)
    assert decode_address("drexdev", text) == decode_address("drexdev", text.upper()) == lock


@given(hashes, st.integers(0, 65), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_one_mistyped_character_is_always_found(lock: bytes, place: int, char: str) -> None:
    text = encode_address("drexdev", lock)
    mistyped = text[:place] + char + text[place + 1 :]
    if mistyped != text:
        with pytest.raises(DecodeError):
            decode_address("drexdev", mistyped)


@pytest.mark.parametrize(
    "text", ["", "drexdev", "drexdev1", "drexdev1qqqq", "drex1" + "q" * 58, "é" * 60, "q" * 500]
)
def test_other_text_is_no_address(text: str) -> None:
    with pytest.raises(DecodeError, match="ADDRESS_INVALID"):
        decode_address("drexdev", text)


def test_bech32m_matches_a_published_vector() -> None:
    """BIP-350: the witness program of 32 zero-padded bytes differs, but the checksum constant is the same."""
    text = encode_address("drex", bytes(32))
    assert text.startswith("drex1" + "q" * 52)
    with pytest.raises(DecodeError, match="prefix"):
        decode_address("drexdev", text)


@given(st.integers(1, 2**63 - 1), st.integers(0, 8))
def test_amount_round_trip(amount: int, decimals: int) -> None:
    assert parse_amount(format_amount(amount, decimals), decimals) == amount


@pytest.mark.parametrize(
    "text", ["0", "0.00", "-1", "1.001", "1,00", "1e3", "", "1.", ".5", "٣", "92233720368547758.08"]
)
def test_amounts_out_of_form_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="AMOUNT_INVALID"):
        parse_amount(text, 2)


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_every_leaf_has_a_proof_and_no_other_does(leaves: list[bytes]) -> None:
    root = merkle_root(leaves)
    for index, leaf in enumerate(leaves):
        proof = merkle_proof(leaves, index)
        assert verify_merkle_proof(root, leaf, index, len(leaves), proof)
        assert not verify_merkle_proof(root, leaf + b"x", index, len(leaves), proof)
        assert not verify_merkle_proof(root, leaf, index, len(leaves), [*proof, bytes(32)])
        assert not verify_merkle_proof(root, leaf, len(leaves), len(leaves), proof)


def test_a_repeated_last_leaf_changes_the_root() -> None:
    assert merkle_root([b"a", b"b", b"c"]) != merkle_root([b"a", b"b", b"c", b"c"])


@pytest.mark.parametrize(
    ("n", "quorum", "faulty"), [(1, 1, 0), (2, 2, 0), (3, 2, 0), (4, 3, 1), (6, 4, 1), (7, 5, 2)]
)
def test_quorum_sizes(n: int, quorum: int, faulty: int) -> None:
    assert (quorum_size(n), max_faulty(n)) == (quorum, faulty)


@given(st.integers(1, 256))
def test_two_quorums_share_an_honest_validator_and_one_survives_f_failures(n: int) -> None:
    assert 2 * quorum_size(n) - n > max_faulty(n)
    assert quorum_size(n) <= n - max_faulty(n)


def test_validator_set_wants_ascending_distinct_keys() -> None:
    low, high = PublicKey(bytes(32)), PublicKey(b"\1" * 32)
    assert ValidatorSet(0, (low, high)).index_of(high) == 1
    for keys in ((high, low), (low, low), (), (PublicKey(b"x"),)):
        with pytest.raises(DecodeError, match="VALIDATORS_INVALID"):
            ValidatorSet(0, keys)
    assert ValidatorSet(0, (low, high)).hash != ValidatorSet(1, (low, high)).hash


def test_header_round_trip_and_bounds() -> None:
    assert decode_header(encode(HEADER)) == HEADER
    for field, value in [
        ("version", 2),
        ("height", -1),
        ("tx_root", b""),
        ("proposer", b""),
        ("tx_count", 2**20),
    ]:
        values = {name: getattr(HEADER, name) for name in HEADER.__struct_fields__} | {field: value}
        with pytest.raises(DecodeError):
            decode_header(encode(BlockHeader(**values)))


def test_a_quorum_of_seals_is_a_certificate() -> None:
    found = certificate([0, 2, 3])
    check(decode_certificate(encode(found)))


def test_certificates_with_a_flaw_are_refused() -> None:
    whole = certificate([0, 1, 2])
    swapped = CommitCertificate(1, 7, 2, whole.block_id, (whole.seals[1], whole.seals[0], whole.seals[2]))
    doubled = CommitCertificate(1, 7, 2, whole.block_id, (whole.seals[0],) * 3)
    stranger = CommitCertificate(1, 7, 2, whole.block_id, (*whole.seals[:2], (9, whole.seals[2][1])))
    forged = CommitCertificate(1, 7, 2, whole.block_id, (*whole.seals[:2], (2, bytes(64))))
    moved = CommitCertificate(1, 7, 3, whole.block_id, whole.seals)
    for flawed, code in [
        (certificate([0, 1]), "CERTIFICATE_NO_QUORUM"),
        (swapped, "CERTIFICATE_DISORDER"),
        (doubled, "CERTIFICATE_DISORDER"),
        (stranger, "CERTIFICATE_STRANGER"),
        (forged, "CERTIFICATE_BAD_SEAL"),
        (moved, "CERTIFICATE_BAD_SEAL"),
        (certificate([0, 1, 2], height=8), "CERTIFICATE_MISMATCH"),
    ]:
        with pytest.raises(InvalidBlock, match=code):
            check(flawed)


@given(st.binary(max_size=120))
def test_header_and_certificate_decoders_raise_only_decode_errors(data: bytes) -> None:
    for decoder in (decode_header, decode_certificate):
        with pytest.raises(DecodeError):
            decoder(data)


def test_a_vote_is_bound_to_its_chain_set_step_height_and_round() -> None:
    domain, other = vote_domain(CHAIN_ID, VALIDATORS.hash), vote_domain(b"\1" * 32, VALIDATORS.hash)
    sighashes = {
        vote_sighash(d, s, h, r, b"x" * 32)
        for d in (domain, other)
        for s in (2, 3)
        for h in (1, 2)
        for r in (0, 1)
    }
    assert len(sighashes) == 16


def test_errors_keep_code_and_data_between_processes() -> None:
    for error in (
        InvalidTransaction("TX_FROZEN", "free 1 of 2", free=1),
        DecodeError("bad", code="X", place=3),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.code, copy.message, copy.data) == (
            type(error),
            error.code,
            error.message,
            error.data,
        )
