"""Signatures: what we sign verifies, and the edges of the curve are judged by ZIP-215 alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primitives.keys import SigningKey, verify, verify_many
from tests.primitives import zip215

KEY = SigningKey(bytes(range(32)))


def _small_order_encodings() -> list[bytes]:
    """Encodings, canonical and not, of points whose order divides 8."""
    found = []
    for y in (0, 1, zip215.P - 1, zip215.P, zip215.P + 1):
        for sign in (0, 1):
            data = (y | sign << 255).to_bytes(32, "little")
            if (point := zip215.decompress(data)) and zip215.multiply(8, point) == zip215.IDENTITY:
                found.append(data)
    y = 2
    while len(found) < 14:  # L times any point has an order that divides 8
        if point := zip215.decompress(y.to_bytes(32, "little")):
            x, torsion_y = zip215.multiply(zip215.L, point)
            data = (torsion_y | (x & 1) << 255).to_bytes(32, "little")
            found += [data] if data not in found else []
        y += 1
    return found


def test_signature_verifies_and_any_change_fails() -> None:
    signature = KEY.sign(b"money")
    assert verify(KEY.public_key, b"money", signature)
    assert not verify(KEY.public_key, b"Money", signature)
    assert not verify(SigningKey(bytes(32)).public_key, b"money", signature)
    assert not verify(KEY.public_key, b"money", signature[:-1] + bytes([signature[-1] ^ 1]))


def test_rfc_8032_vector() -> None:
    key = SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


@pytest.mark.parametrize("public_key", _small_order_encodings(), ids=lambda data: data.hex()[:8])
@pytest.mark.parametrize("commitment", _small_order_encodings(), ids=lambda data: data.hex()[:8])
def test_small_order_points_are_judged_as_zip215_says(public_key: bytes, commitment: bytes) -> None:
    signature = commitment + bytes(32)
    assert zip215.verify(public_key, b"edge", signature)
    assert verify(public_key, b"edge", signature)


def test_scalar_above_the_group_order_is_refused() -> None:
    signature = KEY.sign(b"m")
    scalar = int.from_bytes(signature[32:], "little") + zip215.L
    malleated = signature[:32] + scalar.to_bytes(32, "little")
    assert not zip215.verify(KEY.public_key, b"m", malleated)
    assert not verify(KEY.public_key, b"m", malleated)


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=8), st.integers(0, 511))
def test_agrees_with_the_oracle_on_flipped_signatures(seed: bytes, message: bytes, bit: int) -> None:
    key = SigningKey(seed)
    flipped = bytearray(key.sign(message))
    flipped[bit // 8] ^= 1 << bit % 8
    assert verify(key.public_key, message, bytes(flipped)) == zip215.verify(
        key.public_key, message, bytes(flipped)
    )


@given(st.binary(max_size=70), st.binary(max_size=40), st.binary(max_size=70))
def test_verify_never_raises(public_key: bytes, message: bytes, signature: bytes) -> None:
    assert verify(public_key, message, signature) in (True, False)


def test_verify_many_answers_in_order() -> None:
    good, bad = (KEY.public_key, b"a", KEY.sign(b"a")), (KEY.public_key, b"b", KEY.sign(b"a"))
    assert verify_many([good, bad, good]) == [True, False, True]


def test_seed_of_another_length_is_refused_and_never_shown() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(b"short")
    assert KEY.seed.hex() not in repr(KEY)
